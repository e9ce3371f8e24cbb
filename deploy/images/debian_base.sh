#!/bin/bash
# Base images from Debian's packages, for where no registry of images is to be had: `debian_base.sh DIRECTORY` writes
# build.tar (Python, bash, core utilities) and runtime.tar (Python and its libraries: no shell, no package manager).
# Packages are unpacked and not configured, which takes seconds and no privileges beyond root's; nothing of ours needs it.
set -euo pipefail
directory=$1
mkdir -p "$directory/packages" "$directory/build" "$directory/runtime"
cd "$directory/packages"

closure() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    grep -E '^[a-z0-9]' | grep -v -E ':|^(perl|debconf|cdebconf|dpkg|lib.*perl|libnewt|libslang|libtextwrap|libdebian-installer)' | sort -u
}
is_tool() { [[ " $tools " == *" $1 "* ]]; }
unpack() {
  local package=$1 root=$2
  dpkg-deb --fsys-tarfile "$package"_*.deb | tar --extract --directory "$root" --keep-directory-symlink \
    --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/info/*'
}

tools='bash dash coreutils sed grep findutils tar gzip gawk mawk original-awk debianutils install-info openssl ca-certificates'
tools="$tools binutils binutils-common binutils-x86-64-linux-gnu binutils-aarch64-linux-gnu libbinutils libctf0 libctf-nobfd0 libgprofng0 libjansson4"
tools="$tools libc-bin python3-venv python3.11-venv python3-distutils python3-lib2to3 python3-pip-whl python3-setuptools-whl libsigsegv2 libmpfr6 libgmp10"
read -r -d '' -a packages < <(closure bash dash coreutils sed grep findutils tar gzip ca-certificates base-files netbase libc-bin \
  binutils libstdc++6 python3 python3-venv && printf '\0')
apt-get download -qq "${packages[@]}"
for package in "${packages[@]}"; do
  unpack "$package" "$directory/build"
  if ! is_tool "$package"; then unpack "$package" "$directory/runtime"; fi
done

cat "$directory"/build/usr/share/ca-certificates/mozilla/*.crt >"$directory/certificates"
for root in "$directory/build" "$directory/runtime"; do
  mkdir -p "$root/etc/ssl/certs" "$root/tmp" "$root/proc" "$root/dev" "$root/sys"
  chmod 1777 "$root/tmp"
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:10001:10001::/tmp:/sbin/nologin\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnonroot:x:10001:\n' >"$root/etc/group"
  cp "$directory/certificates" "$root/etc/ssl/certs/ca-certificates.crt"
  # What dpkg would have noted, so that an inventory of the image finds the packages.
  mkdir -p "$root/var/lib/dpkg/status.d"
  for package in "${packages[@]}"; do
    if [ "$root" = "$directory/build" ] || ! is_tool "$package"; then
      dpkg-deb --field "$package"_*.deb >"$root/var/lib/dpkg/status.d/$package"
    fi
  done
  tar --create --sort=name --mtime=@"${SOURCE_DATE_EPOCH:-0}" --numeric-owner --owner=0 --group=0 \
    --directory "$root" --file "$root.tar" .
  rm -rf "$root"
done
rm -rf "$directory/packages" "$directory/certificates"
