#!/bin/sh
# Lay out the files that docker/compose.yml mounts, from the folder that `rogatory keys init` made: rings and passphrases of
# gateway and desk, new passwords for record and queue, and certificates for the lines between the containers.
# The certificates' authority signs these two and is thrown away; all end in 398 days, and are made anew together.
# usage: make-secrets.sh KEYS [FOLDER]        FOLDER is docker/secrets; it must not be there. Run it as root, so that each
#                                             file can belong to the one user that reads it.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
keys=${1:?usage: make-secrets.sh KEYS [FOLDER]}
target=${2:-$here/secrets}

fail() {
    printf 'rogatory: %s\n' "$@" >&2
    exit 1
}

openssl version 2>/dev/null | grep -Eq "^OpenSSL [3-9]" || fail "OpenSSL 3 or newer is not on this machine, and certificates are made by it."
[ -r "$keys/gateway/gateway.ring" ] && [ -r "$keys/desk/desk.ring" ] && [ -r "$keys/public/keyset.jws" ] ||
    fail "'$keys' is not a folder that rogatory keys init made: gateway/, desk/ and public/ are looked for."
[ ! -e "$target" ] || fail "'$target' is there already, and was left as it is."

folder=$target.draft
[ ! -e "$folder" ] || fail "'$folder' is there: another run was broken off. Remove it."
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"
for one in public gateway gateway/keys desk desk/keys reviewers postgres redis caddy; do mkdir "$folder/$one"; done

password() { openssl rand -hex 32; }

install -m 0444 "$keys/public/keyset.jws" "$keys/public/root.jwk" "$folder/public/"
install -m 0400 "$keys/gateway/gateway.ring" "$folder/gateway/keys/"
install -m 0400 "$keys/gateway/gateway.passphrase" "$folder/gateway/passphrase"
install -m 0400 "$keys/desk/desk.ring" "$folder/desk/keys/"
install -m 0400 "$keys/desk/desk.passphrase" "$folder/desk/passphrase"

# The record.
password >"$folder/postgres/superuser"
password >"$folder/postgres/owner"
password >"$folder/postgres/gateway"
printf '*:*:rogatory:rogatory_owner:%s\n' "$(cat "$folder/postgres/owner")" >"$folder/gateway/owner_pgpass"
printf '*:*:rogatory:gateway:%s\n' "$(cat "$folder/postgres/gateway")" >"$folder/gateway/pgpass"

# The queue: the server holds digests of the two passwords, never the passwords.
password >"$folder/gateway/redis"
password >"$folder/desk/redis"
digest() { tr -d '\n' <"$1" | openssl dgst -sha256 -r | cut -d' ' -f1; }
sed -e "s/SHA256-OF-GATEWAY-PASSWORD/$(digest "$folder/gateway/redis")/" \
    -e "s/SHA256-OF-DESK-PASSWORD/$(digest "$folder/desk/redis")/" "$here/redis-users.acl" >"$folder/redis/users.acl"

# The lines inside.
days=398
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$folder/ca.key" -out "$folder/public/ca.pem" \
    -days $days -subj "/CN=Rogatory, lines inside" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
    -addext "keyUsage=critical,keyCertSign" 2>/dev/null
for server in postgres redis; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$folder/$server/key.pem" \
        -out "$folder/$server/cert.pem" -days $days -subj "/CN=$server" -CA "$folder/public/ca.pem" -CAkey "$folder/ca.key" \
        -addext "basicConstraints=critical,CA:FALSE" -addext "keyUsage=critical,digitalSignature" \
        -addext "extendedKeyUsage=serverAuth" -addext "subjectAltName=DNS:$server,DNS:localhost" 2>/dev/null
done
rm "$folder/ca.key"

find "$folder" -type f -exec chmod 0400 {} +
chmod 0444 "$folder"/public/* "$folder"/*/cert.pem
chmod 0755 "$folder" "$folder/public"
if [ "$(id -u)" = 0 ]; then
    # As in compose.yml: 10001 is the image's user, 999 that of the images of PostgreSQL and Redis, 10003 the proxy's.
    chown -R 10001:10001 "$folder/gateway" "$folder/desk" "$folder/reviewers"
    chown -R 999:999 "$folder/postgres" "$folder/redis"
    chown -R 10003:10003 "$folder/caddy"
else
    echo "rogatory: not root, so every file is yours; give gateway, desk and reviewers to user 10001, postgres and redis to 999," \
        "caddy to 10003." >&2
fi
mv "$folder" "$target"
echo "Made $target. The passphrases lie in it: take them from $keys, and keep root/ where no network is."
