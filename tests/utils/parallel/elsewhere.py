"""Workers that are this process, and to whom everything is sent all the same."""

import cloudpickle

from recbole_ccd.utils.parallel import Sequential


class Elsewhere(Sequential):
    """Does copies of tasks, the last one first, and hands copies of results back; pickled as Ray does it."""

    def __init__(self, at_once=2):
        self._at_once = at_once
        self.done = []

    @property
    def at_once(self):
        return self._at_once

    def each(self, do, shared, tasks, at=lambda place: None, waiting=lambda: None):
        if len(tasks) < 2:
            yield from super().each(do, shared, tasks, at, waiting)
            return
        common = cloudpickle.dumps((do, shared))
        for place, task in reversed(list(enumerate(tasks))):
            sent = cloudpickle.dumps(task)
            waiting()
            self.done.append(place)
            try:
                there, known = cloudpickle.loads(common)
                came = cloudpickle.dumps(there(known, cloudpickle.loads(sent)))
            except Exception:
                at(place)
                raise
            yield place, cloudpickle.loads(came)
