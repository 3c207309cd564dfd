"""Watch it: the live view under the cell, the frozen picture that stays, and the report of one file."""
