"""Other tools' words: a recording as a trace, spans, an object-centric log, tables, a workflow; Dask as a recording."""
