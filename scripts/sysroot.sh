#!/bin/bash
# Unpacks a Debian system of another architecture into ./sysroot/ARCH, for tests and benchmarks.
#
#   scripts/sysroot.sh [ARCH] [DEST]         default: ARCH=i386  DEST=./sysroot/ARCH
#
# The host's packages and its foreign architectures stay as they are: apt runs with a private state directory and an
# empty package database, so it resolves the whole closure for ARCH by itself, from the mirror and through the proxy
# settings that the machine's own apt uses. Packages are unpacked; no maintainer script runs.
set -eu -o pipefail

arch=${1:-i386}
root=$(cd "$(dirname "$0")/.." && pwd)
dest=$(realpath -m "${2:-$root/sysroot/$arch}")
suite=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
packages=(libc6 libc-bin base-files libstdc++6 bash dash busybox-static coreutils findutils diffutils grep sed gawk tar
          gzip bzip2 xz-utils zstd 7zip zlib1g openssl python3.11 perl sqlite3 lua5.4 bc dc file)
stamp="$dest/.complete"
recipe=$(sha256sum "$0" | cut -d' ' -f1)

if [ "$(cat "$stamp" 2>/dev/null)" = "$recipe" ]; then
    echo "sysroot: $dest is complete"
    exit 0
fi
for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null || { echo "sysroot: needs $tool (a Debian or Ubuntu host)" >&2; exit 3; }
done

# The first Debian archive among the host's sources; not the security archive, which has no complete suite.
mirror=$(find /etc/apt -name '*.sources' -o -name '*.list' | sort | xargs -r awk '
    ($1 == "URIs:" || $1 == "deb") && !found { for (i = 2; i <= NF; i++) if ($i ~ /^https?:.*\/debian\/?$/) found = $i }
    END { print found }')
mirror=${mirror:-http://deb.debian.org/debian}
[ -e "$keyring" ] && signed="signed-by=$keyring" || signed="trusted=no"

state="$dest.apt"
new="$dest.new"
mkdir -p "$state"/{etc/apt.conf.d,etc/preferences.d,etc/trusted.gpg.d,lists/partial,cache/archives/partial}
: > "$state/status"
echo "deb [arch=$arch $signed] $mirror $suite main" > "$state/etc/sources.list"
apt=(apt-get -q -y
    -o Dir::Etc="$state/etc" -o Dir::Etc::sourcelist="$state/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache"
    -o APT::Architecture="$arch" -o APT::Architectures::="$arch" -o APT::Architectures="$arch"
    -o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Retries=3
    -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1)
echo "sysroot: downloading packages for $arch from $mirror"
"${apt[@]}" update >"$state/log" 2>&1 || { cat "$state/log" >&2; exit 1; }
"${apt[@]}" --download-only install "${packages[@]}" >"$state/log" 2>&1 || { tail -40 "$state/log" >&2; exit 1; }

rm -rf "$new" "$dest"
mkdir -p "$new"
for deb in "$state"/cache/archives/*.deb; do
    dpkg-deb -x "$deb" "$new"
done

# Merge /bin, /sbin and /lib into /usr, as on an installed system.
for dir in bin sbin lib; do
    if [ -d "$new/$dir" ] && [ ! -L "$new/$dir" ]; then
        mkdir -p "$new/usr/$dir"
        cp -a "$new/$dir/." "$new/usr/$dir/"
        rm -rf "${new:?}/$dir"
    fi
    ln -sfn "usr/$dir" "$new/$dir"
done

# An absolute link would lead out of the sysroot when a file is opened below it: make every link relative.
find "$new" -type l -lname '/*' | while read -r link; do
    target=$(realpath -m --relative-to="$(dirname "$link")" "$new$(readlink "$link")")
    ln -sfn "$target" "$link"
done

mkdir -p "$new"/{proc,dev,tmp,root,run,var/tmp}
ln -sf bash "$new/usr/bin/sh"
ln -sf gawk "$new/usr/bin/awk"
ln -sf python3.11 "$new/usr/bin/python3"
ln -sf lua5.4 "$new/usr/bin/lua"
(cd "$state/cache/archives" && ls ./*.deb) | sed 's|^\./||' | sort > "$new/.packages"
echo "$recipe" > "$new/.complete"
mv "$new" "$dest"
rm -rf "$state"
echo "sysroot: $dest: $(wc -l < "$dest/.packages") packages, $(du -sh "$dest" | cut -f1)"
