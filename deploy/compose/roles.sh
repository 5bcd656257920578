#!/bin/sh
# One role and one schema for each domain: a domain can't read what another owns. Run once, by the postgres image.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres --dbname runspine <<SQL
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SQL
for domain in activity incidents policies logs controls; do
  psql --set ON_ERROR_STOP=1 --set password="$POSTGRES_PASSWORD" --username postgres --dbname runspine <<SQL
CREATE ROLE $domain LOGIN PASSWORD :'password';
CREATE SCHEMA $domain AUTHORIZATION $domain;
SQL
done
