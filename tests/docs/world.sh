# Before a document's blocks: a machine of their own, on which `make install` has been done. The real /etc, /usr, /var and /tmp are
# underneath and stay as they are; the network has nothing but loopback; all processes end with the shell.
ip link set lo up
# What is written there is to be seen from outside, wherever the tree is.
# 77: in this container nobody may mount, root neither
mount --bind "$OUT" /mnt || exit 77
mount -t tmpfs tmpfs /mnt/layer || exit 77
for dir in etc usr var tmp; do
	mkdir "/mnt/layer/$dir" "/mnt/layer/$dir.work"
	mount -t overlay overlay -o "lowerdir=/$dir,upperdir=/mnt/layer/$dir,workdir=/mnt/layer/$dir.work" "/$dir" || exit 77
done
mount -t tmpfs tmpfs /run || exit 77
install -d -o kamailio -g kamailio /run/kamailio
rm -rf /etc/voip-push /var/lib/voip-push /tmp/sim
cd "$ROOT"
PREFIX=/usr packaging/install put

# Waits until a file is there, or somebody listens on a port (tcp:PORT).
await() {
	for _ in $(seq 300); do
		case $1 in
		tcp:*) ! (: </dev/tcp/127.0.0.1/"${1#tcp:}") 2>/dev/null || return 0 ;;
		*) [ ! -e "$1" ] || return 0 ;;
		esac
		sleep 0.1
	done
	echo "$1 does not appear"
	return 1
}

# For documents about a server that runs: Apple's and Google's stand-in, and Kamailio with the installed sample and settings in
# /etc/voip-push, as an administrator has them. bob has an iPhone.
a_running_server() {
	voip-push simulate --dir /tmp/sim --quiet &
	await /tmp/sim/simulator.json
	for file in AuthKey_KEY1234567.p8 service-account.json api-keys ca.pem; do
		install -o root -g kamailio -m 640 "/tmp/sim/$file" /etc/voip-push/
	done
	sed -e 's|/tmp/sim/tokens.db|/var/lib/voip-push/tokens.db|; s|/tmp/sim/|/etc/voip-push/|' /tmp/sim/voip-push.toml \
		>/etc/voip-push/voip-push.toml
	setpriv --reuid kamailio --regid kamailio --init-groups kamailio -DD -E -Y /run/kamailio \
		-f /usr/share/voip-push/kamailio/kamailio.cfg >/var/log/kamailio.log 2>&1 &
	await tcp:8080
	KEY=$(sed -n 's/.*"api_key": *"\([^"]*\)".*/\1/p' /tmp/sim/simulator.json)
	curl -sSf -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \
		-d '{"user":"bob","token":"'"$(printf '%064d' 7)"'","platform":"ios"}' http://127.0.0.1:8080/api/register-push-token
}
