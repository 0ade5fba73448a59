# Sets $python to the system's Python 3, which is installed where it is missing.
# Debian's modules (grpcio, hpack) belong to that one, not to others on PATH.
python=/usr/bin/python3
if ! [ -x "$python" ] && command -v apt-get >/dev/null; then
    echo "Python 3 is missing, installing it: apt-get install python3"
    as_root=
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    { $as_root apt-get update &&
      DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y \
          --no-install-recommends python3; } >/dev/null 2>&1 || {
        echo "that failed: install python3 and try again" >&2
        exit 1
    }
fi
[ -x "$python" ] || python=python3
