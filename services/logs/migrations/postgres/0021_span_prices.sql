-- The digest of the table of prices that the cost of a span's step was estimated by; NULL: the span said it, or nobody did.
ALTER TABLE otlp_spans ADD COLUMN prices BYTEA;
