#!/bin/bash
# Builds the default workspace image from Debian packages into the shared,
# read-only image store. No container registry is needed.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
store=$GITPOD_CACHE/images
tmp=$(mktemp -d "$GITPOD_CACHE/image.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

packages=$(sed -e 's/#.*//' "$here/packages.list" | tr -s ' \n' ',' | sed 's/^,//; s/,$//')

echo "installing packages"
# The user is the one that Gitpod's images have: gitpod, 33333, sudo.
# shellcheck disable=SC2016
mmdebstrap --variant=minbase --include="$packages" \
    --customize-hook='chroot "$1" useradd -u 33333 -U -m -s /bin/bash -G sudo gitpod' \
    --customize-hook='printf "gitpod ALL=(ALL) NOPASSWD:ALL\n" > "$1/etc/sudoers.d/gitpod"; chmod 440 "$1/etc/sudoers.d/gitpod"' \
    --customize-hook='mkdir -p "$1/workspace" "$1/.workspace" "$1/.supervisor" "$1/ide"; chown 33333:33333 "$1/workspace"' \
    --customize-hook='printf "LANG=C.UTF-8\n" > "$1/etc/default/locale"' \
    bookworm "$tmp/rootfs.tar" 2>&1

echo "importing"
mkdir -p "$store"
cat > "$tmp/storage.conf" <<X
[storage]
driver = "overlay"
graphroot = "$store"
runroot = "$tmp/run"
X
export CONTAINERS_STORAGE_CONF=$tmp/storage.conf
podman import --quiet --change 'ENV LANG=C.UTF-8' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "$tmp/rootfs.tar" "$IMAGE"
podman image prune -f > /dev/null
