# shellcheck shell=bash
# Chroots with other releases of Debian, the server's source packages, and the
# machine's own archive settings to get them with.  Sourced after lib.sh; needs root.
#
# ZDM_CACHE (default /var/cache/zdm) keeps what is made; remove a folder there
# to have it made anew.  REASON says why something could not be made.
# shellcheck disable=SC2034 # REASON is for the caller

CACHE=${ZDM_CACHE:-/var/cache/zdm}
DEBIAN_SUITES='bookworm trixie sid experimental'
CHROOT_PID=
REASON=

zdm_on_exit stop_chroot

# Two runs would use the same chroots.  What runs under the lock is started
# without its descriptor, or a server left behind would hold the lock.
lock_cache()
{
	mkdir -p "$CACHE"
	exec 9>"$CACHE/lock"
	flock 9 || zdm_die "cannot lock $CACHE"
}

#
# Debian's archive, as this machine reaches it
#

# The mirror of the machine's own sources.
debian_mirror()
{
	# shellcheck disable=SC2016 # apt's fields, not the shell's
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' \
		'Created-By: Packages' |
		sed -n '/^Debian|Debian|/ { s///p; :rest; n; b rest }'
}

# An apt configuration of its own, with binary and source lists of every suite,
# so that the machine's sources stay as they are.  Sets APT to its options.
private_apt()
{
	local dir=$CACHE/apt mirror suite keyring

	APT=(-o "Dir::Etc::SourceList=$dir/sources.list"
		-o "Dir::Etc::SourceParts=/dev/null"
		-o "Dir::State::Lists=$dir/lists"
		-o "Dir::Cache=$dir/cache"
		-o Acquire::Languages=none
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
		-o Acquire::Check-Valid-Until=false
		-o Acquire::Retries=3)
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	# Fresh enough for the question which suite has which major.
	[ -z "$(find "$dir/.updated" -mmin -720 2>/dev/null)" ] || return 0

	mirror=$(debian_mirror)
	[ -n "$mirror" ] || return 1
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	for suite in $DEBIAN_SUITES; do
		echo "deb [signed-by=$keyring] $mirror $suite main"
		echo "deb-src [signed-by=$keyring] $mirror $suite main"
	done >"$dir/sources.list"
	# The servers installed here may come from the security archive.
	# shellcheck disable=SC2016 # apt's fields, not the shell's
	apt-get indextargets --format '$(LABEL) $(REPO_URI) $(CODENAME)' \
		'Created-By: Packages' | sort -u |
		sed -n "s|^Debian-Security |deb-src [signed-by=$keyring] |p" |
		sed 's/$/ main/' >>"$dir/sources.list"
	apt-get -qq "${APT[@]}" update </dev/null >&2 || return 1
	touch "$dir/.updated"
}

# The first suite with a package of server $1.
suite_of()
{
	local suite

	private_apt || return 1
	for suite in $DEBIAN_SUITES; do
		# No grep -q: it would end the pipe early, a failure under pipefail.
		if apt-cache "${APT[@]}" madison "postgresql-$1" |
			grep "[ /]$suite/main .*Packages" >/dev/null; then
			echo "$suite"
			return 0
		fi
	done
	return 1
}

# Fetch and unpack the source package of server $1 into $2.  The version named
# as $3 is tried first; the newest that a list names may not be on the mirror yet
# or any more, and the next one is taken then.  Debian's patches stay off: one of
# them ties every build, whatever its prefix, to the library folder of the
# packaged server.
fetch_source()
{
	local major=$1 dir=$2 version

	private_apt || return 1
	for version in $({
		echo "${3:-}"
		apt-cache "${APT[@]}" showsrc "postgresql-$major" |
			sed -n 's/^Version: //p' | sort -Vr
	} | awk '$0 && !seen[$0]++'); do
		if (cd "$dir" && apt-get -qq "${APT[@]}" source --download-only \
			"postgresql-$major=$version" </dev/null >fetch.log 2>&1); then
			(cd "$dir" && dpkg-source --no-check --skip-patches \
				-x ./*.dsc source >unpack.log)
			return
		fi
		zdm_say "source package $version is not to be had, trying another"
	done
	return 1
}

#
# Chroots
#

# in_chroot ROOT COMMAND…: run with proc, dev and a shared memory of its own.
# They are mounted in a mount namespace that ends with the command, however it
# ends: nothing outside ever sees them, and no clean-up can reach through them.
in_chroot()
{
	local root=$1

	shift
	# shellcheck disable=SC2016 # expanded by the inner shell
	env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		HOME=/root LC_ALL=C.UTF-8 TERM="${TERM:-dumb}" \
		${http_proxy:+"http_proxy=$http_proxy"} \
		${https_proxy:+"https_proxy=$https_proxy"} \
		unshare --mount --pid --fork --kill-child --propagation private \
		bash -ec '
			root=$1
			shift
			mount -t proc proc "$root/proc"
			mount --bind /dev "$root/dev"
			mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
			set +e
			chroot "$root" "$@"
			exit $?' bash "$root" "$@" </dev/null 9>&- &
	CHROOT_PID=$!
	wait "$CHROOT_PID" || {
		local status=$?
		CHROOT_PID=
		return "$status"
	}
	CHROOT_PID=
}

# Killing unshare kills all that runs in its namespace.
stop_chroot()
{
	[ -z "$CHROOT_PID" ] || kill -KILL "$CHROOT_PID" 2>/dev/null || true
}

# A plain Debian of suite $1 in the cache.  A half-made one never gets the name.
make_base()
{
	local suite=$1 base=$CACHE/base/$1 mirror

	[ ! -d "$base" ] || return 0
	mirror=$(debian_mirror)
	[ -n "$mirror" ] || return 1
	(zdm_packages debootstrap) || return 1
	mkdir -p "$CACHE/base"
	zdm_remove_tree "$base.partial"
	debootstrap --variant=minbase --include=ca-certificates "$suite" \
		"$base.partial" "$mirror" >"$base.log" 2>&1 || {
		tail -n 5 "$base.log"
		return 1
	}
	mv "$base.partial" "$base"
}

# Settings that make a chroot quiet, quick and able to reach the archive.
configure_root()
{
	local root=$1 suite=$2 mirror

	mirror=$(debian_mirror)
	cp -L /etc/resolv.conf "$root/etc/resolv.conf"
	echo "deb $mirror $suite main" >"$root/etc/apt/sources.list"
	if [ "$suite" = experimental ]; then
		echo "deb $mirror sid main" >>"$root/etc/apt/sources.list"
		printf '%s\n' 'Package: postgresql* libpq*' \
			'Pin: release a=experimental' 'Pin-Priority: 600' \
			>"$root/etc/apt/preferences.d/zdm"
	fi
	{
		echo 'Acquire::Check-Valid-Until "false";'
		echo 'Acquire::Languages "none";'
		echo 'DPkg::Options { "--force-unsafe-io"; };'
		apt-config dump | grep -iE '^Acquire::https?::Proxy ' || true
	} >"$root/etc/apt/apt.conf.d/99zdm"
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	mkdir -p "$root/etc/postgresql-common/createcluster.d"
	echo 'create_main_cluster = false' \
		>"$root/etc/postgresql-common/createcluster.d/zdm.conf"
}

copy_checkout()
{
	rm -rf --one-file-system "$1/srv/zdm"
	mkdir -p "$1/srv/zdm"
	zdm_copy_sources "$1/srv/zdm"
}

# What may fail is followed by "|| return": the callers ask for the status, and
# bash does not stop at an error inside what is asked.

# The chroot for major $1 with all packages in it.  Sets REASON when it fails.
make_root()
{
	local major=$1 root=$CACHE/root/$1 suite base

	[ ! -e "$root/.ready" ] || return 0
	REASON="no Debian suite has postgresql-$major"
	suite=$(suite_of "$major") || return 1
	base=$suite
	[ "$suite" != experimental ] || base=sid
	zdm_say "== making the $suite chroot for $major"
	REASON="debootstrap $base failed"
	make_base "$base" || return 1

	mkdir -p "$CACHE/root"
	REASON="an old $root is in use"
	zdm_remove_tree "$root"
	[ ! -e "$root" ] || return 1
	cp -a "$CACHE/base/$base" "$root" || return 1
	configure_root "$root" "$suite" || return 1
	copy_checkout "$root" || return 1
	REASON="packages of $major could not be installed in the $suite chroot"
	in_chroot "$root" env "PG_MAJOR=$major" bash -ec \
		'. /srv/zdm/test/tools/lib.sh; zdm_packages test' || return 1
	rm -rf "$root"/var/cache/apt/archives/*.deb
	touch "$root/.ready"
}
