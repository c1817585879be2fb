"""The one home of every limit and default. Nothing here is read from the environment.

Sizes are bytes, times are seconds, unless the name says otherwise. A limit guards untrusted
input or the device's memory; a default is where the configuration (`edge.config`) starts.
"""

# --- Untrusted input -------------------------------------------------------------------------
MAX_SNAPSHOT_BYTES = 16 * 1024 * 1024
"""Largest watchlist message that is looked at; a list of 10,000 entries takes about 5 MB."""
MAX_EVENT_BYTES = 64 * 1024
"""Largest event accepted by a reader; ours are below 4 KB."""
MAX_FRAME_SIDE = 8192
"""Longest side of a frame or photo in pixels; a larger one is refused before it is processed."""
MAX_PHOTO_BYTES = 64 * 1024 * 1024
"""Largest picture file that enrolment opens."""
MAX_CONFIG_BYTES = 256 * 1024
MAX_KEY_FILE_BYTES = 16 * 1024

# --- Watchlist (rules in edge.watchlist.authorisation) -----------------------------------------
MAX_LIST_SIZE_FIXED = 10_000
"""Largest list of a fixed camera."""
MAX_LIST_SIZE_BODY_WORN = 2_000
MAX_VALIDITY_FIXED_S = 30 * 24 * 3600
"""Longest validity of a list for a fixed camera."""
MAX_VALIDITY_BODY_WORN_S = 24 * 3600
MAX_TEMPLATES_PER_ENTRY = 8
FPIR_TARGET_LAXEST = 0.01
"""Nothing, signed or local, may ask for a laxer false positive identification rate."""
CLOCK_SKEW_S = 60
"""How far in the future a list's issue time may lie."""

# --- Camera ------------------------------------------------------------------------------------
CAMERA_RETRY_FIRST_S = 0.5
CAMERA_RETRY_MAX_S = 10.0
"""A lost camera is tried again after 0.5, 1, 2, … at most 10 s."""
CAMERA_STALL_S = 10.0
"""A live source that delivers nothing for this long is treated as gone."""
CORRUPT_FRAMES_IN_A_ROW = 50
"""So many undecodable frames one after the other end a file."""

# --- MQTT --------------------------------------------------------------------------------------
MQTT_KEEPALIVE_S = 30
MQTT_RETRY_FIRST_S = 0.5
MQTT_RETRY_MAX_S = 30.0
DEFAULT_TOPIC_ROOT = "lethe"

# --- Events ------------------------------------------------------------------------------------
OUTBOX_MAX_EVENTS = 10_000
"""Oldest events make room beyond this, and a gap record says how many."""
EVENT_EXPIRY_S = 7 * 24 * 3600
"""An event that could not be delivered for so long is dropped, and a gap record says so."""

# --- Models ------------------------------------------------------------------------------------
MAX_MODEL_BYTES = 64 * 1024 * 1024
MAX_MANIFEST_BYTES = 1024 * 1024

# --- Vision ------------------------------------------------------------------------------------
MIN_FRAME_SIDE = 16
MAX_FACES = 200
"""Faces taken from one frame, strongest first."""
