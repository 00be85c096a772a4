# make install    puts what make build has built in place: PREFIX (/usr/local), DESTDIR, MODDIR, OPENSIPS_MODDIR
# make uninstall  takes it away; leaves /etc/voip-push and /var/lib/voip-push
# make deb        a Debian package, target/package/voip-push_VERSION_ARCH.deb
# make deb-test   installs, upgrades and purges that package in a Debian made for it (as root; some minutes)

.PHONY: install uninstall deb deb-test

export DESTDIR PREFIX LIBDIR MODDIR OPENSIPS_MODDIR BUILD STRIP

install:
	@packaging/install put

uninstall:
	@packaging/install take

deb: setup build
	@packaging/deb

deb-test: deb
	@tests/setup mmdebstrap
	@packaging/deb-test
