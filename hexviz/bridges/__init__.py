"""Other tools' words: a recording as a trace, as spans, as an object-centric log, as tables, as a workflow instance."""
