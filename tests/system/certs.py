# SPDX-License-Identifier: BSD-2-Clause
"""certs.py -- an authority of a test and what it signs, as files that the gateway's account may read."""
import os, shutil, ssl, subprocess

import lab


class Authority:
    def __init__(self, name='ca'):
        self.dir = lab.tempdir('certs')
        self.ca = self.dir / f'{name}.pem'
        self.issue(name, ca=True)

    def run(self, *args):
        subprocess.run(['openssl', *args], check=True, capture_output=True, cwd=self.dir)

    def issue(self, name, host=None, rsa=0, ca=False, file=None, days=30):
        """Certificate and key of /CN=NAME, for the DNS name or address host."""
        file = file or name
        kind = ['-newkey', f'rsa:{rsa}'] if rsa else ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
        by = [] if ca else ['-CA', str(self.ca), '-CAkey', str(self.ca.with_suffix('.key'))]
        # a file that is there is replaced in one step, as an admin's tool does it
        self.run('req', '-x509', *kind, '-nodes', '-days', str(days), '-subj', f'/CN={name}', '-keyout', 'new.key', '-out', 'new.pem',
                 '-addext', f'basicConstraints=critical,CA:{"TRUE" if ca else "FALSE"}', *by,
                 *(['-addext', f'subjectAltName={"IP" if host[0].isdigit() else "DNS"}:{host}'] if host else []))
        for end in ('key', 'pem'):
            path = self.dir / f'new.{end}'
            path.chmod(0o600 if end == 'key' else 0o644)
            if os.geteuid() == 0:
                os.chown(path, lab.NOBODY, lab.NOBODY)
            path.rename(self.dir / f'{file}.{end}')
        return self.dir / f'{file}.pem', self.dir / f'{file}.key'

    def context(self, cert=None):
        """Of a client, with a certificate or without; it verifies what the server has."""
        c = ssl.create_default_context(cafile=self.ca)
        c.check_hostname = False
        if cert:
            c.load_cert_chain(*cert)
        return c

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def starttls(client, context, name='gw.test'):
    """The lab's client says STARTTLS and goes on inside; returns what TLS says of the server."""
    client.cmd('EHLO client.test', 250)
    client.cmd('STARTTLS', 220)
    client.s = context.wrap_socket(client.s, server_hostname=name)
    return client.s.getpeercert()
