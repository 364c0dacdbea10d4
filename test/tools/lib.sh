# shellcheck shell=bash
# Shared by the scripts under test/: packages, build, a private cluster.
#
# Source it from a bash script that has set -euo pipefail.  It installs a trap
# on EXIT, INT and TERM that stops what was started and removes what was
# created; a script that needs its own clean-up registers it with zdm_on_exit.
#
# Which server: PG_CONFIG if set, else PG_MAJOR, else the pg_config in PATH,
# else the release's default major.

ZDM_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
ZDM_CLUSTER_DIR=
ZDM_WORKSPACE=
ZDM_TEMP_DIRS=()
ZDM_EXIT_HOOKS=()

# Settings of an enclosing make are not meant for the ones called from here.
unset MAKEFLAGS MAKELEVEL MFLAGS

zdm_say()
{
	printf '%s\n' "$*"
}

zdm_die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

zdm_as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

#
# Clean-up
#

# Run "$1" when the script ends, before clusters and folders go.
zdm_on_exit()
{
	ZDM_EXIT_HOOKS+=("$1")
}

# Removing through a mount would empty what is mounted there.
zdm_remove_tree()
{
	local dir=$1

	if awk -v d="$dir/" 'index($2 "/", d) == 1 { found = 1 }
			END { exit !found }' /proc/self/mounts; then
		zdm_say "not removed, something is mounted in it: $dir" >&2
		return 0
	fi
	rm -rf --one-file-system -- "$dir"
}

zdm_cleanup()
{
	local status=$? hook dir

	trap - EXIT
	set +e
	for hook in ${ZDM_EXIT_HOOKS[@]+"${ZDM_EXIT_HOOKS[@]}"}; do
		$hook
	done
	zdm_cluster_stop
	for dir in ${ZDM_TEMP_DIRS[@]+"${ZDM_TEMP_DIRS[@]}"}; do
		zdm_remove_tree "$dir"
	done
	exit "$status"
}
trap zdm_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Sets ZDM_TEMP_DIR to a new folder that goes at exit.  No command
# substitution: the trap has to know about it in this very shell.
zdm_temp_dir()
{
	ZDM_TEMP_DIR=$(mktemp -d "/tmp/zdm-${1:-tmp}.XXXXXX")
	ZDM_TEMP_DIRS+=("$ZDM_TEMP_DIR")
}

#
# Which server, which user
#

zdm_default_major()
{
	apt-cache depends postgresql 2>/dev/null |
		sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1
}

# A server of the distribution's own packages, as opposed to one built by hand.
zdm_server_is_packaged()
{
	case $(command -v "${PG_CONFIG:-pg_config}" || true) in
		'' | /usr/bin/pg_config | /usr/lib/postgresql/*) return 0 ;;
		*) return 1 ;;
	esac
}

zdm_version_of()
{
	"$1" --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'
}

# Prints the major version asked for, installed or not.
zdm_wanted_major()
{
	local major=

	if [ -n "${PG_CONFIG:-}" ] && command -v "$PG_CONFIG" >/dev/null; then
		major=$(zdm_version_of "$PG_CONFIG")
	elif [ -n "${PG_MAJOR:-}" ]; then
		major=$PG_MAJOR
	elif command -v pg_config >/dev/null; then
		major=$(zdm_version_of pg_config 2>/dev/null || true)
	fi
	printf '%s\n' "${major:-$(zdm_default_major)}"
}

# Sets and exports PG_CONFIG and PG_MAJOR, and puts the server's programs
# first in PATH.
zdm_use_server()
{
	local major

	major=$(zdm_wanted_major)
	if [ -z "${PG_CONFIG:-}" ] || ! command -v "$PG_CONFIG" >/dev/null; then
		PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config
		[ -x "$PG_CONFIG" ] || PG_CONFIG=$(command -v pg_config) ||
			zdm_die "no pg_config found; set PG_CONFIG or PG_MAJOR"
	fi
	PG_CONFIG=$(command -v "$PG_CONFIG")
	PG_MAJOR=$(zdm_version_of "$PG_CONFIG")
	export PG_CONFIG PG_MAJOR
	ZDM_BINDIR=$("$PG_CONFIG" --bindir)
	case ":$PATH:" in
		":$ZDM_BINDIR:"*) ;;
		*) export PATH="$ZDM_BINDIR:$PATH" ;;
	esac
}

# The server refuses to run as root: root hands over to postgres, or to
# nobody on a machine whose server came without that user.
zdm_user()
{
	if [ "$(id -u)" -ne 0 ]; then
		id -un
	elif id -u postgres >/dev/null 2>&1; then
		echo postgres
	else
		echo nobody
	fi
}

# Run a command as the unprivileged user with the environment kept.
zdm_run()
{
	local user

	if [ "$(id -u)" -ne 0 ]; then
		"$@"
		return
	fi
	user=$(zdm_user)
	HOME=${ZDM_CLUSTER_DIR:-${ZDM_WORKSPACE:-/tmp}} USER=$user LOGNAME=$user \
		setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups \
		-- "$@"
}

#
# Packages
#

zdm_package_names()
{
	local major=$1 profile

	shift
	for profile in "$@"; do
		case $profile in
			build)
				echo build-essential
				! zdm_server_is_packaged || echo "postgresql-server-dev-$major"
				;;
			server)
				! zdm_server_is_packaged || echo "postgresql-$major"
				;;
			demo) zdm_package_names "$major" build server ;;
			test)
				zdm_package_names "$major" build server
				echo libipc-run-perl
				! zdm_server_is_packaged || zdm_pgtap_package "$major"
				;;
			analyze)
				zdm_package_names "$major" build
				printf '%s\n' clang clang-tools clang-tidy cppcheck
				;;
			*) echo "$profile" ;;
		esac
	done
}

# A major that is not the release's default has no pgTAP package of its own;
# any other's will do, for it is SQL only (see zdm_pgtap_install).
zdm_pgtap_package()
{
	local major=$1 other

	if [ -n "$(apt-cache madison "postgresql-$major-pgtap" 2>/dev/null)" ]; then
		echo "postgresql-$major-pgtap"
		return
	fi
	other=$(apt-cache search --names-only '^postgresql-[0-9]+-pgtap$' |
		awk '{ print $1 }' | sort -V | tail -n 1)
	[ -z "$other" ] || echo "$other"
}

# Of the packages named on standard input, those not installed.
zdm_missing()
{
	local package

	while read -r package; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
			grep -q 'install ok installed' || echo "$package"
	done
}

# zdm_packages PROFILE|PACKAGE…: install what is missing.
# Profiles: build, server, demo (build and server), test, analyze.
zdm_packages()
{
	local major missing=() apt log

	if ! command -v apt-get >/dev/null; then
		zdm_say "no apt-get here: the packages for '$*' are taken as given"
		zdm_use_server
		return
	fi
	apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0
		-o Acquire::Retries=3)
	major=$(zdm_wanted_major)
	if [ -n "$major" ]; then
		mapfile -t missing < <(zdm_package_names "$major" "$@" | zdm_missing)
		if [ ${#missing[@]} -eq 0 ]; then
			zdm_use_server
			return
		fi
	fi

	zdm_as_root "${apt[@]}" update </dev/null >&2 ||
		zdm_say "apt-get update failed; trying with the lists there are" >&2
	major=$(zdm_wanted_major)
	[ -n "$major" ] || zdm_die "which major? set PG_MAJOR or PG_CONFIG"
	mapfile -t missing < <(zdm_package_names "$major" "$@" | zdm_missing)
	zdm_say "installing: ${missing[*]}"
	log=$(mktemp /tmp/zdm-apt.XXXXXX)
	zdm_as_root "${apt[@]}" install -y --no-install-recommends \
		"${missing[@]}" </dev/null >"$log" 2>&1 || {
		tail -n 15 "$log" >&2
		rm -f "$log"
		zdm_die "cannot install: ${missing[*]}" \
			"(for another major than the release's: test/tools/majors $major)"
	}
	rm -f "$log"
	zdm_use_server
}

# pgTAP where the server looks for it; false when there is none to be had.
zdm_pgtap_install()
{
	local target other

	target=$("$PG_CONFIG" --sharedir)/extension
	[ ! -e "$target/pgtap.control" ] || return 0
	for other in /usr/share/postgresql/*/extension/pgtap.control; do
		[ -e "$other" ] || return 1
		zdm_as_root cp "$other" "${other%.control}"--*.sql "$target/"
		return 0
	done
}

#
# Build
#

# zdm_build_install [DIR [make argument…]]: DIR defaults to the checkout.
zdm_build_install()
{
	local dir=${1:-$ZDM_TOP} make

	shift || true
	zdm_use_server
	make=(make -C "$dir" --no-print-directory "PG_CONFIG=$PG_CONFIG" "$@")
	if [ "$dir" = "$ZDM_WORKSPACE" ]; then
		zdm_run "${make[@]}" -s -j "$(nproc)" all || return
	else
		"${make[@]}" -s -j "$(nproc)" all || return
	fi
	zdm_as_root "${make[@]}" -s install >/dev/null
}

# The files of the checkout, NUL-terminated: what git would commit, or all but
# build products where there is no git.
zdm_source_files()
{
	local git=(git -c "safe.directory=*" -C "$ZDM_TOP") file

	if "${git[@]}" rev-parse --git-dir >/dev/null 2>&1; then
		"${git[@]}" ls-files -z -co --exclude-standard
	else
		(cd "$ZDM_TOP" && find . -name .git -prune -o -name tmp_check -prune \
			-o -type f ! -name '*.o' ! -name '*.bc' ! -name '*.so' \
			! -name '*.d' ! -name .build-id -printf '%P\0')
	fi | while IFS= read -r -d '' file; do
		[ ! -e "$ZDM_TOP/$file" ] || printf '%s\0' "$file"
	done
}

# Copy the checkout to folder $1; a file that an editor or a compiler takes away
# meanwhile is no reason to stop.
zdm_copy_sources()
{
	zdm_source_files |
		tar -C "$ZDM_TOP" --ignore-failed-read --null -T - -cf - |
		tar -C "$1" -xf -
}

# Sets ZDM_WORKSPACE to a copy of the checkout that the unprivileged user owns,
# for suites that write beside their sources.
zdm_workspace()
{
	zdm_temp_dir work
	ZDM_WORKSPACE=$ZDM_TEMP_DIR
	zdm_copy_sources "$ZDM_WORKSPACE"
	[ "$(id -u)" -ne 0 ] || chown -R "$(zdm_user):" "$ZDM_WORKSPACE"
}

#
# The private cluster
#

# zdm_cluster_start [line of postgresql.conf…]: a new cluster in a folder of its
# own, reachable through a socket in that folder only.  Exports PGHOST, PGPORT,
# PGUSER and PGDATABASE; ZDM_CLUSTER_LOG is the server's log.  Durability is
# on unless a line says otherwise.
zdm_cluster_start()
{
	local data

	[ -z "$ZDM_CLUSTER_DIR" ] || zdm_die "a cluster is running already"
	zdm_use_server
	ZDM_CLUSTER_DIR=$(mktemp -d /tmp/zdm-pg.XXXXXX)
	ZDM_CLUSTER_LOG=$ZDM_CLUSTER_DIR/server.log
	data=$ZDM_CLUSTER_DIR/data
	[ "$(id -u)" -ne 0 ] || chown "$(zdm_user):" "$ZDM_CLUSTER_DIR"

	unset PGHOSTADDR PGSERVICE PGSERVICEFILE PGPASSFILE PGOPTIONS PGSSLMODE
	unset PGDATA PGAPPNAME PGCLIENTENCODING
	export PGHOST=$ZDM_CLUSTER_DIR PGUSER=postgres PGDATABASE=postgres
	export PGPORT=$((20000 + RANDOM % 40000))

	zdm_run "$ZDM_BINDIR/initdb" -D "$data" -U "$PGUSER" -A trust -E UTF8 \
		--no-locale --no-sync >"$ZDM_CLUSTER_DIR/initdb.log" 2>&1 || {
		cat "$ZDM_CLUSTER_DIR/initdb.log" >&2
		zdm_die "initdb failed"
	}
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$ZDM_CLUSTER_DIR'"
		echo "port = $PGPORT"
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >>"$data/postgresql.conf"
	zdm_run "$ZDM_BINDIR/pg_ctl" -D "$data" -l "$ZDM_CLUSTER_LOG" -w -t 60 \
		-s start || {
		cat "$ZDM_CLUSTER_LOG" >&2
		zdm_die "the server did not start"
	}
}

# Restart with the settings as they are; mode is fast or immediate (a crash).
zdm_cluster_restart()
{
	zdm_run "$ZDM_BINDIR/pg_ctl" -D "$ZDM_CLUSTER_DIR/data" \
		-l "$ZDM_CLUSTER_LOG" -w -t 60 -s -m "${1:-fast}" restart
}

# Stop the cluster and remove its folder; nothing to do when there is none.
zdm_cluster_stop()
{
	local pg_ctl

	[ -n "$ZDM_CLUSTER_DIR" ] || return 0
	pg_ctl=("$ZDM_BINDIR/pg_ctl" -D "$ZDM_CLUSTER_DIR/data" -w -s)
	if [ -e "$ZDM_CLUSTER_DIR/data/postmaster.pid" ]; then
		zdm_run "${pg_ctl[@]}" -t 30 -m fast stop ||
			[ ! -e "$ZDM_CLUSTER_DIR/data/postmaster.pid" ] ||
			zdm_run "${pg_ctl[@]}" -m immediate stop || true
	fi
	zdm_remove_tree "$ZDM_CLUSTER_DIR"
	ZDM_CLUSTER_DIR=
}
