# make bench  what a push costs, beside what people use today; QUICK=1 takes under five minutes
# make soak   a million pushes while the provider fails and workers die; COUNT=20000 for a short one
# make faults two nodes and a Redis Cluster, 50 calls a second, and what breaks meanwhile; QUICK=1 takes a minute

.PHONY: bench soak faults

bench:
	@tests/setup kamailio-sqlite-modules kamailio-utils-modules kamailio-redis-modules redis-server redis-tools
	@QUICK=$(QUICK) cargo bench --locked --quiet --bench bench

soak: setup
	@COUNT=$(COUNT) cargo bench --locked --quiet --bench soak

faults:
	@tests/setup kamailio-extra-modules redis-server redis-tools
	@QUICK=$(QUICK) cargo bench --locked --quiet --profile dev --bench faults
