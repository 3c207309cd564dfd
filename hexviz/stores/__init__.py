"""Keep recordings: stores take records and give them back. Import from the modules of this room."""
