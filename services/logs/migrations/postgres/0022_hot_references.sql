-- PostgreSQL checks a reference row by row, with a query each: more than a quarter of what a record costs. Who appends has
-- locked the head of the trace in the same transaction, the head refers to the trace, and neither is ever deleted.
ALTER TABLE trace_records DROP CONSTRAINT trace_records_trace_key_fkey;
ALTER TABLE step_references DROP CONSTRAINT step_references_trace_key_fkey;
