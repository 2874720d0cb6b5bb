#!/usr/bin/env bash
# Installs a package of raidkit, runs what its unit runs, upgrades it under a connected client, removes and purges it: in a copy of
# this machine's file system that is gone afterwards. Needs root, and Node where it is on this machine.
# packaging/try-deb.sh OLD.deb NEW.deb
set -euo pipefail
old=$(readlink -f "$1") new=$(readlink -f "$2")
if [ "${RAIDKIT_TRY_DEB:-}" = '' ]; then
  RAIDKIT_TRY_DEB=1 exec unshare --mount --pid --fork --kill-child --mount-proc "$0" "$old" "$new"
fi

work=$(mktemp -d)
mount -t tmpfs none "$work"
mkdir "$work"/{upper,work,root}
mount -t overlay none -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
root=$work/root
for folder in dev proc sys; do mount --rbind "/$folder" "$root/$folder"; done
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
mkdir "$root/tmp/debs"
cp "$old" "$root/tmp/debs/old.deb"
cp "$new" "$root/tmp/debs/new.deb"
in_root() { chroot "$root" "$@"; }
say() { echo "try-deb: $*"; }

# Node on a machine for development need not come from a Debian package.
in_root dpkg --force-depends --install /tmp/debs/old.deb >/dev/null 2>"$work/dpkg.log" || { cat "$work/dpkg.log"; exit 1; }
say "installed $(in_root dpkg-query --show --showformat='${Version}' raidkit)"
in_root getent passwd raidkit >/dev/null
in_root test "$(in_root stat -c %U:%a /usr/bin/raidkitd)" = root:777 # a link
for page in raidkitd.8 raidctl.8; do in_root test -s "/usr/share/man/man8/$page.gz"; done

# What systemd would make of the unit: its folders, its user, its environment, its command.
unit=$root/usr/lib/systemd/system/raidkitd.service
set -a
. "$root/etc/default/raidkitd"
set +a
command=$(sed -n 's/^ExecStart=//p' "$unit")
command=${command//\$RAIDKITD_OPTIONS/$RAIDKITD_OPTIONS}
for folder in run:755 var/lib:700; do
  in_root test "$(in_root stat -c %U:%G:%a "/${folder%:*}/raidkit")" = "raidkit:raidkit:${folder#*:}"
done
start() {
  # shellcheck disable=SC2086 # the command's words
  chroot "$root" setpriv --reuid raidkit --regid raidkit --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
    env -i PATH=/usr/bin:/usr/local/bin STATE_DIRECTORY=/var/lib/raidkit $command --memory 128 2>"$work/daemon.log" &
  daemon=$!
  for _ in $(seq 200); do
    if in_root raidctl list >/dev/null 2>&1; then return; fi
    if ! kill -0 "$daemon" 2>/dev/null; then break; fi
    sleep 0.1
  done
  cat "$work/daemon.log"
  say 'the daemon does not come up'
  exit 1
}
stop() { kill -TERM "$daemon"; wait "$daemon"; }
start
say 'the command of the unit serves, as an unprivileged user'

for disk in a b c; do
  in_root install -o raidkit -g raidkit -m 0600 /dev/null "/var/lib/raidkit/$disk"
  truncate -s 16M "$root/var/lib/raidkit/$disk"
done
in_root raidctl create raid5f vol /var/lib/raidkit/{a,b,c} --yes >/dev/null
# What udev is told of a member, and of a device that is none: images take the places of devices, which udev makes links to.
device=$(find "$root/sys/block" -mindepth 1 -printf '%f\n' | grep -E '^(loop|vd|sd|nvme)' | head -n 1)
mount -t tmpfs none "$root/dev"
mknod -m 0666 "$root/dev/null" c 1 3
in_root truncate -s 1M /dev/blank
for image in /var/lib/raidkit/a:spdk_raid_member /dev/blank:; do
  in_root cp "${image%:*}" "/dev/$device"
  in_root udevadm test --action=change "/sys/block/$device" >"$work/udev.log" 2>&1
  if [ "$(sed -n 's/^ID_FS_TYPE=//p' "$work/udev.log")" != "${image#*:}" ] || grep '61-raidkit.rules:[0-9]* [^I]' "$work/udev.log"; then
    cat "$work/udev.log"
    exit 1
  fi
done
umount "$root/dev"
say 'udev knows members'

# A client that stays connected through the upgrade.
mkfifo "$work/fifo"
in_root qemu-io -f raw 'nbd+unix:///vol?socket=/run/raidkit/nbd.sock' <"$work/fifo" >"$work/client.log" 2>&1 &
client=$!
exec 7>"$work/fifo"
echo 'write -P 7 0 1M' >&7

in_root dpkg --force-depends --install /tmp/debs/new.deb >/dev/null 2>>"$work/dpkg.log"
say "upgraded to $(in_root dpkg-query --show --showformat='${Version}' raidkit) under a connected client"
echo 'read -P 7 0 1M' >&7
echo 'flush' >&7
exec 7>&-
wait "$client"
grep -q 'read 1048576/1048576' "$work/client.log"
if grep -qi 'fail\|error' "$work/client.log"; then cat "$work/client.log"; exit 1; fi
stop
start
in_root raidctl wait vol --for optimal >/dev/null
in_root qemu-io -f raw -r -c 'read -P 7 0 1M' 'nbd+unix:///vol?socket=/run/raidkit/nbd.sock' >"$work/client.log"
if grep -qi 'fail\|error' "$work/client.log"; then cat "$work/client.log"; exit 1; fi
stop
say 'the new version has the volume, and what was written'

in_root dpkg --remove raidkit >/dev/null
in_root test -e /etc/default/raidkitd
in_root test -e /var/lib/raidkit/a
if in_root test -e /usr/lib/raidkit; then say 'programs are left'; exit 1; fi
in_root dpkg --purge raidkit >/dev/null 2>&1
if in_root test -e /etc/default/raidkitd || in_root test -e /var/lib/raidkit; then say 'something is left'; exit 1; fi
say 'removed and purged'
