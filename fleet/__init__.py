"""The owner's side: keys, enrolment, signing, publishing, watching events.

Imports `edge.protocol` for formats and `edge.vision` for enrolment; `edge` never imports it.
"""

import edge as edge  # first of all: it tells OpenCV how large a picture may be
