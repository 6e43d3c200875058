# SPDX-License-Identifier: BSD-2-Clause
"""What a scanner that strangers use says of smtps: testssl.sh, its sections on protocols, ciphers, forward secrecy,
preferences, the server's defaults and known weaknesses. Some minutes, so with META1_FULL=1 only."""
import json, os, subprocess

import certs, lab, pytest

FULL = os.environ.get('META1_FULL') == '1'
FINE = {'OK', 'INFO', 'LOW', 'DEBUG'}
# a CA of the test is in nobody's store, and says nothing of what it revoked
TRUST = ('cert_trust', 'cert_chain_of_trust', 'cert_notRevoked', 'cert_revocation', 'cert_crlDistributionPoints', 'cert_ocspURL', 'OCSP_')


def resumed(port, folder):
    """By a ticket of TLS 1.3, by a client that waits for it."""
    cmd = ['openssl', 's_client', '-starttls', 'smtp', '-connect', f'127.0.0.1:{port}', '-tls1_3']
    ticket = folder / 'ticket'
    with subprocess.Popen([*cmd, '-sess_out', ticket], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        lab.wait_for('a ticket', lambda: ticket.exists() and ticket.stat().st_size)
        p.stdin.close()
    return 'Reused, TLSv1.3' in subprocess.run([*cmd, '-sess_in', ticket], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


@pytest.mark.skipif(not FULL, reason='META1_FULL=1')
@pytest.mark.alone
def test_nothing_above_low(inst):
    out = lab.tempdir('scan') / 'out.json'
    with certs.Authority() as ca, lab.Sink() as sink:
        pair = [ca.issue('gw', host='gw.test', days=90), ca.issue('rsa', host='gw.test', rsa=3072, days=90)]
        files = [', '.join(f'"{p[i]}"' for p in pair) for i in (0, 1)]
        with lab.relay_all(inst, sink.port, f'tls {{ cert_file = {{ {files[0]} }}; key_file = {{ {files[1]} }}; }} '
                           'client_limits { max_connections = 0; max_connection_rate = 0; }') as g:
            p = subprocess.run(['testssl', '--quiet', '--color', '0', '--warnings', 'off', '--nodns', 'min', '--add-ca', str(ca.ca), '--starttls', 'smtp',
                                '-p', '-s', '-f', '-P', '-S', '-U', '--jsonfile', str(out), f'127.0.0.1:{g.port}'],
                               capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
            found = json.loads(out.read_text())
            assert resumed(g.port, out.parent)
    assert len(found) > 60, p.stdout[-3000:]
    assert {x['id'] for x in found} >= {'TLS1_2', 'TLS1_3', 'secure_renego', 'BEAST', 'DH_groups'}, p.stdout
    wrong = [x for x in found if x['severity'] not in FINE and not x['id'].startswith((*TRUST, 'engine_problem'))]
    # its client leaves before the ticket comes, 118 of 120 times, ours and Postfix' alike, and then it cannot look: we have, above
    wrong = [x for x in wrong if (x['id'], x['severity'], x['finding']) != ('sessionresumption_ticket', 'WARN', 'check failed because of connect problem')]
    assert not wrong, '\n'.join(f'{x["id"]}: {x["severity"]}: {x["finding"]}' for x in wrong)
