#!/bin/sh
# Run by container.ts in namespaces of its own, as process 1: what an engine does before it starts an image's program. ROOT is the image's
# file system; each SOURCE:TARGET:OPTION is mounted there, ro or rw; then the command runs, as USER, with nothing that root could do.
set -eu
root=$1 user=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=1g tmpfs "$root/tmp"
while [ "$1" != -- ]; do
  source=${1%%:*} target=$root$(echo "$1" | cut -d : -f 2)
  mkdir -p "$target"
  mount --bind "$source" "$target"
  [ "${1##*:}" = rw ] || mount -o remount,bind,ro "$target"
  shift
done
shift
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
