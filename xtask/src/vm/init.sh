#!/bin/busybox sh
# The guest's first program: sets it up, runs the job, and tells the host how it went.
/bin/busybox --install -s /bin
export PATH=/bin:/opt/criu HOME=/root TMPDIR=/tmp
mkdir -p /proc /sys /dev /tmp /run /root /out /mnt
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
chmod 1777 /tmp /dev/shm
ip link set lo up
# Loaded now, for CRIU looks into no folder of modules but this kernel's own.
while read -r name; do modprobe "$name" || echo "guest: no module $name"; done </job/modules

for port in /sys/class/virtio-ports/*; do
    ln -s "/dev/${port##*/}" "/dev/job-$(cat "$port/name")"
done
echo ready >/dev/job-status

mkfifo /run/stdout /run/stderr
cat /run/stdout >/dev/job-stdout & stdout=$!
cat /run/stderr >/dev/job-stderr & stderr=$!
setsid sh /job/command </dev/null >/run/stdout 2>/run/stderr &
# Waiting for one, it reaps all that lost their parents.
wait $!
status=$?
# Something that outlives the job may hold its output open.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 $stdout 2>/dev/null || kill -0 $stderr 2>/dev/null || break
    sleep 1
done
[ -e /dev/job-out ] && tar -C /out -cf /dev/job-out .
echo "status $status" >/dev/job-status
# The host ends this machine.
while :; do sleep 1000; done
