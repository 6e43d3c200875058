# SPDX-License-Identifier: BSD-2-Clause
"""A filter that speaks the protocol of doc/pmilter-protocol.md by a script; the same words and faults as milterd.py, so one test
serves both. L and N, steps that this protocol does not have, are the content, as B is."""
import struct

import milterd

HELLO, WELCOME, PING, PONG, BYE = 1, 2, 3, 4, 5
CONTENT, CHUNK, VERDICT, EDIT, MORE = 23, 24, 48, 49, 51
QUESTIONS = {17: 'C', 18: 'H', 19: 'M', 20: 'R', 21: 'T', 22: 'U', 25: 'E'}
F_VERSION, F_PROGRAM, F_STAGES, F_ACTION, F_CODE, F_LINE, F_HOLD, F_KIND, F_FIELD, F_VALUE, F_DATA = 1, 3, 5, 48, 49, 51, 52, 55, 58, 59, 32
ALL_STAGES = 1 | 2 | 4 | 8 | 16 | 32


def field(number, data):
    return struct.pack('!HH', number, len(data)) + data


def add_header(name, value):
    return EDIT, field(F_KIND, b'\1') + field(F_FIELD, name.encode()) + field(F_VALUE, value.encode())


def verdict(action=0, *more):
    return VERDICT, field(F_ACTION, bytes([action])) + b''.join(more)


GO_ON = verdict()
ADD_JUDGED = [add_header('X-Judged', 'yes'), GO_ON]


class Pmilter(milterd.Milter):
    """One connection carries all sessions. says: step -> list of (type, fields), or a word of milterd's faults."""

    GO_ON = GO_ON

    def __init__(self, path=None, says=None, stages=ALL_STAGES):
        self.stages = stages
        super().__init__(path, says)

    def frame(self, c, packet, session=None):
        kind, data = packet if isinstance(packet, tuple) else (60, packet)  # 60: there is no such type
        c.sendall(struct.pack('!IHHI', 12 + len(data), kind, 0, self.session if session is None else session) + data)

    @staticmethod
    def read(f):
        head = f.read(12)
        if len(head) < 12:
            return None
        size, kind, _, session = struct.unpack('!IHHI', head)
        return kind, session, f.read(size - 12)

    def talk(self, c, f):
        while got := self.read(f):
            kind, session, data = got
            step = 'O' if kind == HELLO else 'B' if kind == CHUNK else QUESTIONS.get(kind)
            self.heard.append((step or kind, data))
            self.session = session
            say = self.says.get(step) or (self.says.get('L') or self.says.get('N') if step == 'B' else None)
            if say == 'wait':
                self.waiting.append((c, step, session))
            elif isinstance(say, str):
                getattr(self, say)(c, f)
            elif kind == PING:
                self.frame(c, (PONG, b''), 0)
            elif kind == HELLO:
                self.frame(c, (WELCOME, field(F_VERSION, b'\0\1') + field(F_PROGRAM, b'scripted') +
                               field(F_STAGES, struct.pack('!I', self.stages))), 0)
            elif step in ('U', *'CHMRTE'):
                for packet in say or [GO_ON]:
                    self.frame(c, packet)

    def stall(self, c, f):
        """No answer to this one; other sessions go on."""

    def half(self, c, f):
        self.frame(c, add_header('X-Half', 'edited'))
        raise OSError
