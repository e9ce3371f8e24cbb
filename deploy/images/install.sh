#!/bin/bash
# Installs a lock file into /opt/venv: `install.sh NAME.lock [pip's options]`. Every file must have a hash that the lock
# names. What NAME.unneeded lists goes again, and with it symbols for debuggers; so does pip, for a running image installs
# nothing. Byte code is bound to no time, so that the same inputs give the same layer, and nothing is compiled at a start.
set -euo pipefail
shopt -s globstar
lock=$1
shift
python=/opt/venv/bin/python
install=("$python" -m pip install --quiet --no-cache-dir --no-compile --disable-pip-version-check --require-hashes --only-binary :all:)
if grep -q '^rouge-score==' "$lock"; then
  # It comes as sources only. What builds it is the lock's own setuptools, so that nothing without a hash is fetched.
  sed -n '/^setuptools==/,/[^\\]$/p' "$lock" >build.lock
  "${install[@]}" --requirement build.lock
  install+=(--no-binary rouge-score --no-build-isolation --use-pep517)
fi
"${install[@]}" "$@" --requirement "$lock"
"$python" -m pip uninstall --yes --quiet pip setuptools
cd "$("$python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")"
unneeded=$OLDPWD/${lock%.lock}.unneeded
if [ -e "$unneeded" ]; then
  # The globs shall expand, here.
  grep -v '^#' "$unneeded" | while read -r glob; do rm -rf -- $glob; done
  # Not the libraries that wheels bring along: those were patched after they were linked, which strip may not survive.
  modules=(./**/*.cpython-*.so ./**/*.abi3.so)
  strip --strip-unneeded "${modules[@]}"
  "$python" -c 'import ctypes, sys; [ctypes.CDLL(module) for module in sys.argv[1:]]' "${modules[@]}"
fi
# torch brings a file for tests that is in a newer Python's language.
"$python" -m compileall -q -x '/py3[0-9]+_intrinsics\.py$' --invalidation-mode unchecked-hash .
