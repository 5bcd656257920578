# What the scripts share. Sourced, not run.

DURATIONS=()

say() { printf '\n== %s\n' "$*"; }

# Runs stage_NAME and keeps how long it took.
run_stage() {
  local name=$1 start=$SECONDS status=0
  say "$name"
  "stage_$name" || status=$?
  DURATIONS+=("$(printf '%-10s %6ds  %s' "$name" $((SECONDS - start)) "$([ $status -eq 0 ] && echo ok || echo FAILED)")")
  return $status
}

summary() {
  say "how long it took"
  printf '  %s\n' "${DURATIONS[@]}"
}

# need_package CHECK PACKAGE WHY: installs a Debian package when CHECK fails and we are root, else says what to install.
need_package() {
  local check=$1 package=$2 why=$3
  "$check" && { echo "  $package: there"; return 0; }
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "  $package is missing: $why. Install it (Debian: apt-get install $package)." >&2
    return 1
  fi
  echo "  installing $package: $why"
  # A list of packages that is weeks old names files that are gone.
  [ -n "${APT_UPDATED:-}" ] || { apt-get update -qq && APT_UPDATED=1; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null || return 1
  "$check" || { echo "  $package is installed and still not found" >&2; return 1; }
}

# The same places as shared/testkit looks in. Not in PATH on Debian.
postgres_server() {
  local place
  for place in "$(pg_config --bindir 2>/dev/null)" /usr/lib/postgresql/*/bin ${PATH//:/ }; do
    [ -n "$place" ] && [ -x "$place/postgres" ] && [ -x "$place/initdb" ] && return 0
  done
  return 1
}

python_venv() { python3 -c 'import venv, ensurepip' 2>/dev/null; }

# The second verifier of bundles checks signatures with it.
python_cryptography() { python3 -c 'import cryptography' 2>/dev/null; }

# Into the python3 that the tests find: by pip, or from Debian where pip leaves the system's Python alone.
need_cryptography() {
  python_cryptography && { echo "  cryptography for Python: there"; return 0; }
  echo "  installing cryptography for Python: the second verifier of bundles needs it"
  python3 -m pip install --quiet --disable-pip-version-check cryptography 2>/dev/null && return 0
  need_package python_cryptography python3-cryptography "the second verifier of bundles needs it"
}

c_compiler() { command -v cc >/dev/null; }

need_nextest() {
  cargo nextest --version >/dev/null 2>&1 && { echo "  cargo-nextest: there"; return 0; }
  echo "  installing cargo-nextest: each test in a process of its own, with a time limit"
  cargo install --locked --quiet cargo-nextest
}
