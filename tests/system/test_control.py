# SPDX-License-Identifier: BSD-2-Clause
"""The control sockets against clients that are broken, many, or in the way."""
import lab, socket


def dial(g, role):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(str(g.dir / f'run/{role}.ctl'))
    return s


def answers(g):
    return all(g.http(r, 'GET', '/v1/status')[0] == 200 for r in ('qmgr', 'smar', 'smtps', 'smtpc'))


JUNK = [
    b'\r\n\r\n', b'GET', b'GET /\r\n', b'\0' * 5000, bytes(range(256)) * 20, b'GET / HTTP/9.9\r\n\r\n',
    b'GET ' + b'/' * 70000 + b' HTTP/1.1\r\n\r\n', b'GET / HTTP/1.1\r\n' + b'A: b\r\n' * 20000 + b'\r\n',
    b'POST /v1/queue/flush HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n',
    b'POST /v1/queue/flush HTTP/1.1\r\nContent-Length: -1\r\n\r\n',
    b'POST /v1/queue/flush HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nx',
    b'GET /v1/queue?cursor=-1 HTTP/1.0\r\n\r\n', b'GET /v1/queue?cursor=%00%ff&limit=0 HTTP/1.0\r\n\r\n',
    b'GET /v1/queue/%2e%2e%2f%00 HTTP/1.0\r\n\r\n', b'DELETE /v1/queue/ HTTP/1.0\r\n\r\n',
    b'GET http://[::1 HTTP/1.0\r\n\r\n', b'OPTIONS * HTTP/1.0\r\n\r\n', b'GET %zz?&&==& HTTP/1.0\r\n\r\n',
]


def test_broken_requests(inst, sink):
    """Whatever is said, the role goes on; what is no request has no effect."""
    with lab.relay_all(inst, sink.port) as g:
        pids = g.pids()
        for role in ('qmgr', 'smar', 'smtps', 'smtpc'):
            for junk in JUNK:
                with dial(g, role) as s:
                    try:
                        s.sendall(junk)
                        s.shutdown(socket.SHUT_WR)
                        while s.recv(65536):
                            pass
                    except (ConnectionResetError, BrokenPipeError):
                        pass
        assert answers(g)
        assert g.pids() == pids
        with g.client() as c:
            assert c.mail('a@client.test', 'b@far.test', b'Subject: x\r\n\r\nx\r\n').startswith('250')
        sink.wait(1)


def test_a_thousand_half_requests(inst, sink):
    """They take room for a while, and nothing else: the control socket and the mail go on."""
    with lab.relay_all(inst, sink.port) as g:
        many = [dial(g, 'smtps') for _ in range(400)] + [dial(g, 'qmgr') for _ in range(600)]
        for s in many:
            s.sendall(b'GET /v1/sta')
        assert answers(g)
        with g.client() as c:
            assert c.mail('a@client.test', 'b@far.test', b'Subject: x\r\n\r\nx\r\n').startswith('250')
        sink.wait(1)
        for s in many:
            s.close()
        assert answers(g)


def test_no_descriptor_for_a_control_client(inst, sink):
    """A client that cannot be accepted does not keep the role busy."""
    g = lab.relay_all(inst, sink.port)
    g.few_descriptors('smar')
    with g:
        many = [dial(g, 'smar') for _ in range(60)]
        g.wait_log('control.accept')
        busy = lab.busy(g.pids()['smar'])
        assert busy < 0.2, f'{busy:.0%} of a processor while out of descriptors'
        assert g.log().count('control.accept') == 1
        for s in many:
            s.close()
        lab.wait_for('an answer', lambda: g.http('smar', 'GET', '/v1/status')[0] == 200)


def test_what_a_role_says_cannot_drive_the_terminal(inst):
    """The admin's tool prints addresses and reasons of others: no control bytes of theirs."""
    import json, shutil, subprocess, threading
    folder = lab.tempdir('ctl')
    evil = 'x\x1b]0;owned\x07\r\n\x9b2Jy\x7f'
    message = {'id': evil, 'sender': evil, 'size': 1, 'time': 1,
               'recipients': [{'state': evil, 'address': evil, 'reason': evil, 'next_try': 0}]}
    answers = [(200, {'messages': [message]}), (404, {'error': evil})]
    (folder / 'conf').write_text(f'run_directory = "{folder}";\n')
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / 'qmgr.ctl'))
        s.listen()

        def serve():
            for status, body in answers:
                c, _ = s.accept()
                c.recv(4096)
                c.sendall(f'HTTP/1.0 {status} x\r\n\r\n{json.dumps(body)}'.encode())
                c.close()
        t = threading.Thread(target=serve)
        t.start()
        for command in (['list'], ['show', 'x']):
            p = subprocess.run([f'{inst}{lab.PREFIX}/bin/meta1ctl', '-f', str(folder / 'conf'), 'queue', *command],
                               capture_output=True, timeout=30)
            said = (p.stdout + p.stderr).decode()
            assert 'owned' in said
            assert not [x for x in said if (ord(x) < 32 and x != '\n') or 127 <= ord(x) < 160], said
        t.join()
    shutil.rmtree(folder)
