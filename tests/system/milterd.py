# SPDX-License-Identifier: BSD-2-Clause
"""A filter that speaks Sendmail's milter protocol (version 6) by a script: what it says to each command, and how it fails."""
import contextlib, random, socket, struct

import lab

CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, END = 'CHMRTLNBE'
STEPS = 'O' + 'CHMRTLNBE'  # O: the negotiation
ANSWERED = set('CHMRTLNBEU')
ALL_ACTIONS = 0x1ff


def add_header(name, value):
    return b'h' + name.encode() + b'\0' + value.encode() + b'\0'


def reply_code(text):
    return b'y' + text.encode() + b'\0'


def quarantine(why):
    return b'q' + why.encode() + b'\0'


class Milter(lab.Listener):
    """says: step -> list of packets, or one of the words of faults below, or 'wait', until release(); steps that it does not name go on ('c').
    heard: (command, data) of all connections, as they came. Set says while it runs: it holds from the next command on."""

    GO_ON = b'c'

    def __init__(self, path=None, says=None, protocol=0, version=6):
        self.says, self.protocol, self.version = dict(says or {}), protocol, version
        self.heard, self.live, self.waiting = [], set(), []
        super().__init__(path)
        self.socket = f'socket {{ type = unix; path = "{path}"; }}' if path else \
            f'socket {{ type = inet; address = 127.0.0.1; port = {self.port}; }}'

    # ---- frames ----
    @staticmethod
    def frame(c, packet):
        c.sendall(struct.pack('!I', len(packet)) + packet)

    @staticmethod
    def read(f):
        head = f.read(4)
        if len(head) < 4:
            return None
        packet = f.read(struct.unpack('!I', head)[0])
        return (chr(packet[0]), packet[1:]) if packet else None

    def serve(self, c):
        self.live.add(c)
        if c.family != socket.AF_UNIX:
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.talk(c, c.makefile('rb'))
        except (OSError, ValueError):
            pass
        finally:
            self.live.discard(c)
            with contextlib.suppress(OSError):
                c.shutdown(socket.SHUT_RDWR)
            c.close()

    def talk(self, c, f):
        while got := self.read(f):
            step, data = got
            self.heard.append(got)
            if step == 'Q':
                return
            say = self.says.get(step)
            if say == 'wait':
                self.waiting.append((c, step))
            elif isinstance(say, str):
                getattr(self, say)(c, f)
            elif step == 'O':
                _, actions, protocol = struct.unpack('!III', data[:12])
                self.frame(c, b'O' + struct.pack('!III', self.version, actions & ALL_ACTIONS, self.protocol & protocol))
            elif step in ANSWERED:
                for packet in say or [b'c']:
                    self.frame(c, packet)

    def release(self, says):
        """Who was told to wait is answered by this script; the others hear of it no more."""
        while self.waiting:
            c, step, *session = self.waiting.pop(0)
            for packet in says.get(step, [self.GO_ON]):
                self.frame(c, packet, *session)

    # ---- faults ----
    def close_it(self, c, f):
        raise OSError

    def reset(self, c, f):
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        f.close()
        raise OSError

    def stall(self, c, f):
        while f.read(4096):
            pass
        raise OSError

    def garble(self, c, f):
        c.sendall(b'\xff\xff\xff\xff' + random.randbytes(64))
        self.stall(c, f)

    def unknown(self, c, f):
        """A whole frame with an answer that does not exist."""
        self.frame(c, b'Zno such thing')
        self.stall(c, f)

    def half(self, c, f):
        """An edit, and then nothing any more."""
        self.frame(c, add_header('X-Half', 'edited'))
        raise OSError

    def cut(self, c, f):
        """Half a frame."""
        c.sendall(struct.pack('!I', 100) + b'h')
        raise OSError

    def stop(self):
        """It is not there any more: no new connection, and the old ones are gone."""
        self.close()
        self.drop()

    def drop(self):
        for c in list(self.live):
            with contextlib.suppress(OSError):
                c.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *exc):
        self.stop()
