#!/bin/sh
# Read the digest of every image that docker/Dockerfile, docker/compose.yml and docker/kubernetes name from its registry, and
# write them to docker/images.env, which compose and the build take. Needs one of: docker with buildx, skopeo, crane.
# It writes what a registry said, for all images or for none, and never a digest from anywhere else.
# usage: pin-images.sh [FOLDER]        FOLDER is docker/
set -eu
docker=${1:-docker}

fail() {
    printf 'rogatory: %s\n' "$@" >&2
    exit 1
}

digest_of() {
    case $reader in
    docker) docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$1" ;;
    skopeo) skopeo inspect --no-tags --format '{{.Digest}}' "docker://$1" ;;
    crane) crane digest "$1" ;;
    esac
}

if docker buildx version >/dev/null 2>&1; then reader=docker
elif command -v skopeo >/dev/null 2>&1; then reader=skopeo
elif command -v crane >/dev/null 2>&1; then reader=crane
else
    fail "images cannot be pinned on this machine: it has neither docker with buildx, nor skopeo, nor crane." \
        "Run make pin where one of them is and the registry can be reached, and keep docker/images.env beside the sources."
fi

# Each image is written `docker.io/…:tag@${NAME_DIGEST…}`, where it is used.
images=$(sed -n 's/.*\(docker\.io\/[^@ ]*\)@\${\([A-Z]*_DIGEST\).*/\2 \1/p' "$docker/Dockerfile" "$docker/compose.yml" | sort -u)
[ -n "$images" ] || fail "no image was found in $docker/Dockerfile and $docker/compose.yml."
[ "$(printf '%s\n' "$images" | cut -d' ' -f1 | uniq -d)" = "" ] || fail "one name stands for two images:" "$images"

draft=$docker/.images.env.draft
trap 'rm -f "$draft"' EXIT
echo "# Written by make pin: what the registry said. Read by docker compose --env-file docker/images.env." >"$draft"
while read -r name image; do
    digest=$(digest_of "$image") || fail "$reader could not read the digest of $image; the lines above say why."
    printf '%s\n' "$digest" | grep -Eqx 'sha256:[0-9a-f]{64}' || fail "$reader gave no digest of $image: '$digest'."
    printf '%s=%s\n' "$name" "$digest" >>"$draft"
    echo "$image@$digest"
done <<END
$images
END
mv "$draft" "$docker/images.env"
