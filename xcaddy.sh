#!/usr/bin/env bash
# Builds, runs, tests and measures caddy-passport. It works from any folder and needs Go and nothing else; `test` and
# `bench` also need the Debian packages listed below, and install them where they can.
set -euo pipefail

readonly caddy_version=v2.11.9
readonly golangci_version=v2.15.0
readonly module=github.com/oauth2-passport/caddy-passport

# The command that is needed, and the Debian package that has it.
readonly test_needs=(gcc:build-essential curl:curl chromium:chromium strace:strace pg_ctlcluster:postgresql
	node:nodejs npm:npm nginx:nginx-light
	php-fpm:php-fpm)
readonly bench_needs=(wrk:wrk pg_ctlcluster:postgresql)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly root

usage() {
	cat <<'TEXT'
Usage: ./xcaddy.sh <command>

  build [flags]  builds ./caddy: Caddy with this plugin; flags go to xcaddy
                 (--with github.com/mholt/caddy-ratelimit@v0.1.0, for one)
  run            builds ./caddy if it is missing or older than the sources, and runs Caddyfile.example;
                 its data is kept in ./.demo
  test [flags]   every check and every test; flags go to go test (-run TestWalk, -short, ...)
  fuzz [time] [target]
                 every fuzz target for that time each (10s), or those whose names match a regular expression
  bench [flags]  the benchmarks; flags go to tests/bench
  bench soak     a gateway under load for an hour, and whether it grows; -length 10m for less
TEXT
}

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

die() {
	printf 'xcaddy.sh: %s\n' "$*" >&2
	exit 1
}

need_go() {
	command -v go >/dev/null || die "Go 1.26 or newer is needed; see https://go.dev/dl/"
	# A Go that is too old fetches the one that go.mod asks for, or says that it can't.
	local version
	version=$(go env GOVERSION) || die "this Go can't build the project; Go 1.26 or newer is needed, see https://go.dev/dl/"
	case $version in
	go1.[0-9] | go1.[0-9].* | go1.1[0-9] | go1.1[0-9].* | go1.2[0-5] | go1.2[0-5].*)
		die "Go 1.26 or newer is needed, this is $version; see https://go.dev/dl/"
		;;
	esac
}

# have tells whether there is a command. Debian's servers are not on everybody's path, and some have their version in
# their names.
have() {
	command -v "$1" >/dev/null || compgen -G "/usr/sbin/$1" >/dev/null || compgen -G "/usr/sbin/$1[0-9]*" >/dev/null
}

# need <command:package>... installs what is missing, or says what it is and goes on: what needs it fails by itself.
need() {
	local pair missing=()
	for pair in "$@"; do
		have "${pair%%:*}" || missing+=("${pair##*:}")
	done
	[[ ${#missing[@]} -gt 0 ]] || return 0
	if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
		say "installing ${missing[*]}"
		local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}")
		if "${install[@]}" >/dev/null 2>&1 || { apt-get update >/dev/null && "${install[@]}" >/dev/null; }; then
			return 0
		fi
	fi
	printf 'xcaddy.sh: missing here: %s; on Debian: sudo apt-get install %s\n' "${missing[*]}" "${missing[*]}" >&2
}

build() {
	need_go
	say "building ./caddy (Caddy $caddy_version)"
	# The version before "=" keeps Go from asking a proxy about a module that is on disk.
	go tool xcaddy build "$caddy_version" --with "$module@v0.0.0=." --output ./caddy "$@"
}

# fresh tells whether ./caddy is newer than everything it is built from.
fresh() {
	[[ -x caddy ]] || return 1
	local newer
	newer=$(find passport.go go.mod go.sum caddymodule issuer store -type f ! -name '*_test.go' -newer caddy -print -quit)
	[[ -z $newer ]]
}

run() {
	fresh || build
	# Not the user's own Caddy data: the demo must not touch it.
	export XDG_DATA_HOME=$root/.demo/data XDG_CONFIG_HOME=$root/.demo/config
	exec ./caddy run --config Caddyfile.example --adapter caddyfile
}

run_tests() {
	need_go
	need "${test_needs[@]}"

	say "gofmt"
	local unformatted
	unformatted=$(gofmt -l .)
	[[ -z $unformatted ]] || die "gofmt would change: ${unformatted//$'\n'/ }"

	if command -v shellcheck >/dev/null; then
		say "shellcheck"
		shellcheck xcaddy.sh .ci/run
	fi

	say "go vet"
	go vet ./...

	say "golangci-lint $golangci_version (the first time it is built, which takes two minutes)"
	go run "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$golangci_version" run ./...

	fresh || build
	say "caddy fmt"
	./caddy fmt --diff Caddyfile.example >/dev/null

	say "go test -race"
	go test -race -json -timeout 20m -p "$(nproc 2>/dev/null || echo 2)" "$@" ./... | go run ./tests/internal/testlog
}

fuzz() {
	need_go
	local length=${1:-10s} wanted=${2:-.} file name
	local -i count=0
	while IFS=: read -r file name; do
		count+=1
		say "$name, $length"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$length" "./$(dirname "$file")"
	done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/func //' | grep -E ":.*$wanted" | sort)
	((count > 0)) || die "no fuzz target is called $wanted"
}

bench() {
	need_go
	need "${bench_needs[@]}"
	go run ./tests/bench "$@"
}

cd "$root"
command=${1:-}
[[ $# -eq 0 ]] || shift
case $command in
build) build "$@" ;;
run) run ;;
test) run_tests "$@" ;;
fuzz) fuzz "$@" ;;
bench) bench "$@" ;;
-h | --help | help) usage ;;
*)
	usage >&2
	exit 2
	;;
esac
