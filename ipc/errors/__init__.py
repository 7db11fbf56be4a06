"""Every error that may cross a process boundary, with its wire code.

An error carries fields, never only text: its class names them in ``template``, and the text is
built from them. One file a family; a new class needs its line in the list that catalogue.py names.
"""

from ipc.errors.base import *
from ipc.errors.catalogue import *
from ipc.errors.corruption import *
from ipc.errors.deadline import *
from ipc.errors.denied import *
from ipc.errors.overload import *
from ipc.errors.peer import *
from ipc.errors.usage import *
