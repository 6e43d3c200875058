# SPDX-License-Identifier: BSD-2-Clause
"""signed.py -- zones of a test, signed or not, in a real name server, and a resolver before it that checks DNSSEC."""
import contextlib, os, re, subprocess

import lab

HEAD = '$ORIGIN {0}.\n$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 86400 5\n@ IN NS ns\nns IN A 127.0.0.1\n'


def sign(folder, zone, *times):
    """The zone's file is signed in its place; its anchor stands beside it."""
    env = {**os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'}
    key = subprocess.run(['ldns-keygen', '-a', 'ECDSAP256SHA256', '-k', zone], cwd=folder, env=env, check=True, capture_output=True,
                         text=True).stdout.strip()
    (folder / f'{zone}.ds').write_text((folder / f'{key}.ds').read_text())
    subprocess.run(['ldns-signzone', '-n', *times, '-f', f'{zone}.zone', f'{zone}.zone', key], cwd=folder, env=env, check=True)


def forge(text, owner, kind):
    """The signature of these records is one of something else."""
    pattern = rf'^({re.escape(owner)}\.\s+\d+\s+IN\s+RRSIG\s+{kind} .* )(\S)(\S+==?)'
    out, n = re.subn(pattern, lambda m: m[1] + ('A' if m[2] != 'A' else 'B') + m[3], text, flags=re.M)
    assert n == 1, (owner, kind, n)
    return out


@contextlib.contextmanager
def resolver(signed, plain={}, expired={}, forged=(), silent=None):
    """zone -> records, for zones that are signed, that are not, whose signatures are of long ago. forged: (name, type) whose
    signature is wrong. silent: (name, port), of what lies below this name nobody answers. Gives the resolver's port."""
    d = lab.Daemon('ub')
    port, zones = lab.free_port(), {}
    for zone, records in {**signed, **expired, **plain}.items():
        file = d.dir / f'{zone}.zone'
        file.write_text(HEAD.format(zone) + records)
        if zone not in plain:
            sign(d.dir, zone, *(['-i', '20200101000000', '-e', '20200201000000'] if zone in expired else []))
        zones[zone] = file.read_text()
        for owner, what in forged:
            if owner.endswith('.' + zone):
                zones[zone] = forge(zones[zone], owner, what)
    with lab.Nsd(zones) as nsd:
        stubs = ''.join(f'stub-zone:\n  name: "{z}"\n  stub-addr: 127.0.0.1@{p}\n' for z, p in
                        [*((z, nsd.port) for z in ['.', *zones]), *([silent] if silent else [])])
        anchors = ''.join(f'  trust-anchor-file: "{d.dir}/{z}.ds"\n' for z in zones if z not in plain)
        (d.dir / 'unbound.conf').write_text(f'''server:
  directory: "{d.dir}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1@{port}
  outgoing-interface: 127.0.0.1
  do-ip6: no
  do-not-query-localhost: no
  local-zone: "test." nodefault
  module-config: "validator iterator"
  num-threads: 1
{anchors}remote-control:
  control-enable: no
{stubs}''')
        d.run(['unbound', '-d', '-p', '-c', d.dir / 'unbound.conf'])
        try:
            yield port
        finally:
            d.close()
