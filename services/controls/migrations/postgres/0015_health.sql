-- The row that a probe of the store writes and reads.
CREATE TABLE health_probe (id BIGINT PRIMARY KEY, at BIGINT NOT NULL);
