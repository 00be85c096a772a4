# make bench  what a push costs, beside what people use today; QUICK=1 takes under five minutes
# make soak   two million pushes, and as many of a C program, while the provider fails and workers die; COUNT=20000 for a short one
# make faults two nodes and a Redis Cluster, 50 calls a second, and what breaks meanwhile; QUICK=1 takes a minute
# make sizing the tables of docs/sizing.md; WRITE=1 puts them into the page

.PHONY: bench soak faults sizing

bench:
	@tests/setup kamailio-sqlite-modules kamailio-utils-modules kamailio-redis-modules redis-server redis-tools
	@QUICK=$(QUICK) cargo bench --locked --quiet --bench bench

soak: setup
	@COUNT=$(COUNT) cargo bench --locked --quiet --bench soak

# The development build: what is measured here is not its speed.
faults: setup
	@QUICK=$(QUICK) cargo bench --locked --quiet --profile dev --bench faults

# The development build: it is a simulation, and as exact.
sizing:
	@WRITE=$(WRITE) cargo test --locked --quiet --bench sizing
