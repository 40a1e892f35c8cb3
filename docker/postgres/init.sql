-- The record's database and its two roles, made once, when the server's folder is empty.
-- `rogatory_owner` makes and changes tables (`rogatory gateway migrate`); `gateway` reads and writes rows, and can neither
-- change nor drop a table. Passwords are read from files by psql itself: they stand in no argument list and no environment.
\set ON_ERROR_STOP on
\set owner_password `cat /run/secrets/postgres_owner`
\set gateway_password `cat /run/secrets/postgres_gateway`
CREATE ROLE rogatory_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE gateway LOGIN PASSWORD :'gateway_password';
CREATE DATABASE rogatory OWNER rogatory_owner ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;
REVOKE ALL ON DATABASE rogatory FROM PUBLIC;
GRANT CONNECT ON DATABASE rogatory TO gateway;
\connect rogatory
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO rogatory_owner;
GRANT USAGE ON SCHEMA public TO gateway;
ALTER DEFAULT PRIVILEGES FOR ROLE rogatory_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO gateway;
ALTER DEFAULT PRIVILEGES FOR ROLE rogatory_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO gateway;
