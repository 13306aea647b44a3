# One of two hosts, on a machine that has just been divided by `unshare`: a name, a disk and a network of its own.
#
#     host.sh NAME KEYS OWN SHARED
#
# It is process 1 of the host: when it ends, so does all that runs there. It ends with its stdin.
set -e
name=$1 keys=$2 own=$3 shared=$4
read -r pid _ < /proc/self/stat # as the machine counts
mount -t proc proc /proc
hostname "$name"
mount --bind "$own" "$shared" # the same path shows each host its own disk
mount -t tmpfs tmpfs /run
mkdir /run/sshd /run/keys
cp "$keys"/* /run/keys
chmod 600 /run/keys/*
ip link set lo up
echo "$pid"
read -r address # when the cable is plugged in
ip address add "$address" dev wire
ip link set wire up mtu 1500
/usr/sbin/sshd -f /dev/null -o HostKey=/run/keys/key -o AuthorizedKeysFile=/run/keys/key.pub -o UsePAM=no \
    -o StrictModes=no -o PidFile=none -o MaxStartups=100
echo up
read -r _ || true
