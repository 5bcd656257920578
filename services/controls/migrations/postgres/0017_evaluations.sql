-- The worst that was told of the run's limits: "envelope_key:outcome" with spaces between. Empty: it nears none.
ALTER TABLE run_leases ADD COLUMN told TEXT NOT NULL DEFAULT '';
