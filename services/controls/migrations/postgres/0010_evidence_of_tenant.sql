CREATE INDEX run_leases_of_tenant ON run_leases (tenant_id, run_key);
