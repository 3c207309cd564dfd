"""Remember what happened: columns, the recorder, recordings, frames, replay. Import from the modules of this room."""
