# One of two hosts, on a machine that has just been divided by `unshare`: a name, a disk and a network of its own.
#
#     host.sh NAME
#
# It is process 1 of the host: when it ends, so does all that runs there. It ends with its stdin.
set -e
read -r pid _ < /proc/self/stat # as the machine counts
mount -t proc proc /proc
hostname "$1"
mount -t tmpfs tmpfs /srv
mount -t tmpfs tmpfs /run
mkdir -m 700 /run/sshd /run/keys
ip link set lo up
echo "$pid"
read -r address # when the keys are there and the cable is plugged in
ip address add "$address" dev wire
ip link set wire up mtu 1500
/usr/sbin/sshd -f /dev/null -o HostKey=/run/keys/key -o AuthorizedKeysFile=/run/keys/key.pub -o UsePAM=no \
    -o StrictModes=no -o PidFile=none -o MaxStartups=100
echo up
read -r _ || true
