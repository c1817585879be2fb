"""The one home of every limit and default. Nothing here is read from the environment.

Sizes are bytes, times are seconds, unless the name says otherwise. A limit guards untrusted
input or the device's memory; a default is where the configuration (`edge.config`) starts.
"""

# --- Untrusted input -------------------------------------------------------------------------
MAX_OWNER_FILE_BYTES = 64 * 1024 * 1024
"""Largest file of an owner's folder that is opened; a list of 10,000 takes about 7 MB in JSON."""
MAX_EVENT_BYTES = 64 * 1024
"""Largest event accepted by a reader; ours are below 4 KB."""
MAX_FRAME_SIDE = 8192
"""Longest side of a frame or photo in pixels; a larger one is refused before it is processed."""
MAX_PHOTO_BYTES = 64 * 1024 * 1024
"""Largest picture file that enrolment opens."""
MAX_CONFIG_BYTES = 256 * 1024
MAX_KEY_FILE_BYTES = 16 * 1024
MAX_DESIRED_BYTES = 16 * 1024
"""Largest configuration that is taken from the fleet; one that sets every field has about 1 KB."""
MAX_REPORTED_BYTES = 32 * 1024
REASON_CHARS = 512
"""Longest reason, note or name in what is reported, recorded or kept; a longer one is cut."""

# --- Signed metadata (edge.trust) ----------------------------------------------------------------
MAX_ROOT_BYTES = 64 * 1024
MAX_TIMESTAMP_BYTES = 4 * 1024
MAX_SNAPSHOT_METADATA_BYTES = 128 * 1024
"""Names every role: a thousand lists take 60 KB."""
MAX_TARGETS_BYTES = 1024 * 1024
"""Metadata of one role; 4,000 configurations take about as much."""
MAX_TARGET_BYTES = 64 * 1024 * 1024
"""Content of one target; the largest are models."""
MAX_ROOT_ROTATIONS = 64
MAX_DELEGATIONS = 16
"""Roles that are looked at for one target."""
MAX_VERSION_STEP = 1_000_000
"""A fleet takes no version of a list that skips more: two years of one every minute."""
FETCH_TOPICS = 64
"""Topics asked for in one packet: a mosquitto as it comes queues 1,000 for a device, no more."""
FETCH_S = 20.0
"""A broker that delivers nothing for so long has failed the fetch."""
TRUST_RETRY_FIRST_S = 5.0
TRUST_RETRY_MAX_S = 300.0
"""What failed is tried again after 5, 10, 20, … at most 300 s, and at once when something comes."""
TRUST_CHECK_S = 3600.0
"""So often it is looked whether what was signed has expired meanwhile."""

ROLE_LIFETIME_S = 365 * 24 * 3600
"""Root, targets and delegated roles are signed for so long, lists for as long as they live."""
SNAPSHOT_LIFETIME_S = 30 * 24 * 3600
TIMESTAMP_LIFETIME_S = 7 * 24 * 3600
"""So long can a broker hold back what is new before devices notice: `lethe fleet refresh`."""

# --- Lists on the wire (edge.protocol.sealed_list) -----------------------------------------------
SEGMENT_BYTES = 12 * 1024
"""Templates of one segment: a new entry moves one, and the head, about as large (docs/adr/0012)."""
MAX_HEAD_BYTES = 256 * 1024
"""Names 8,000 segments, which are some 400,000 templates."""
MAX_PIECE_BYTES = 1024 * 1024
"""An authorisation that names 10,000 devices takes 670 KB; a segment is far smaller."""

# --- Watchlist (rules in edge.watchlist.authorisation) -----------------------------------------
MAX_LIST_SIZE_FIXED = 10_000
"""Largest list of a fixed camera, unless the root of trust has signed for a larger one."""
MAX_LIST_SIZE_BODY_WORN = 2_000
MAX_LIST_SIZE = 100_000
"""No list is longer, whoever signs: what the format holds."""
MAX_VALIDITY_FIXED_S = 30 * 24 * 3600
"""Longest validity of a list for a fixed camera."""
MAX_VALIDITY_BODY_WORN_S = 24 * 3600
URGENT_VALIDITY_S = 24 * 3600
"""An urgent list that was not countersigned ends so long after its issue."""
MAX_TEMPLATES_PER_ENTRY = 8
FPIR_TARGET_LAXEST = 0.01
"""Nothing, signed or local, may ask for a laxer false positive identification rate."""
CLOCK_SKEW_S = 60
"""How far in the future a list's issue time may lie, and how far clocks may differ unsuspected."""
CLOCK_SETTLE_S = 600
"""A clock that has jumped is believed again after it has run evenly for so long."""
CLOCK_CORRECTION_S = 3600
"""A real-time clock without power for a year may be off by so much when NTP takes over."""
CLOCK_SAVE_S = 600
"""How often the time that is certainly over is written down."""
POSITION_FRESH_S = 5.0
"""A position of a camera that moves is believed for so long."""

# --- Lists at rest (edge.watchlist.store) --------------------------------------------------------
MAX_RECORD_BYTES = 1024 * 1024
"""A record names up to 8,000 pieces."""
MAX_LIFE_BYTES = 256 * 1024
"""Destructions that are not finished are few, unless the outbox takes no receipts for months."""

# --- Camera ------------------------------------------------------------------------------------
CAMERA_RETRY_FIRST_S = 0.5
CAMERA_RETRY_MAX_S = 10.0
"""A lost camera is tried again after 0.5, 1, 2, … at most 10 s."""
CAMERA_STALL_S = 10.0
"""A live source that delivers nothing for this long is treated as gone."""
CAMERA_CLOSE_S = 2.0
CORRUPT_FRAMES_IN_A_ROW = 50
"""So many undecodable frames one after the other end a file."""
SMALL_STREAM_WIDTH = 640
"""Width of the small stream of a camera that gives two: that of the default detector's input."""
FOLDER_FPS = 5.0
"""Pictures of a folder are taken to be a fifth of a second apart."""

# --- MQTT --------------------------------------------------------------------------------------
MQTT_KEEPALIVE_S = 30
MQTT_CONNECT_S = 15.0
"""TCP and TLS together, each way of a slow network; below the 20 s in which a service must end."""
MQTT_RETRY_FIRST_S = 1
MQTT_RETRY_MAX_S = 30
"""A broker that is away is tried again after 1, 2, 4, … at most 30 s (whole seconds)."""
DEFAULT_TOPIC_ROOT = "lethe"
DEFAULT_DISCOVERY_PREFIX = "homeassistant"

# --- Client certificates (edge.protocol.certificate, edge.protocol.enrolment) ---------------------
MAX_CERTIFICATE_BYTES = 8 * 1024
MAX_AUTHORITIES_BYTES = 512 * 1024
"""Every public authority there is takes 220 KB."""
MAX_ENROLMENT_BYTES = 32 * 1024
CERTIFICATE_LIFETIME_S = 90 * 24 * 3600
"""A device's client certificate; a device that is no longer renewed is out after so long."""
CERTIFICATE_RENEW_S = 30 * 24 * 3600
"""So long before its end at most a certificate is renewed, and warned about."""
CERTIFICATE_BACKDATE_S = 3600
"""A certificate begins so long before it is signed: clocks differ."""
SERVER_CERTIFICATE_LIFETIME_S = 397 * 24 * 3600
AUTHORITY_LIFETIME_S = 3650 * 24 * 3600
INVITATION_LIFETIME_S = 30 * 24 * 3600
"""A one-time token that is not used by then is void."""
ENROL_PORT = 8884
"""Of the listener that takes one-time passwords (deploy/mosquitto/enrol.conf)."""
ENROL_LOOK_S = 1.0
"""Whoever waits for the first certificate looks so often whether it is to end."""
RENEWAL_ASK_S = 3600.0
"""A request that is not answered is sent again after this; and looked at is it so often."""
RENEWAL_TRY_S = 20.0
"""A new certificate has so long to be accepted by the broker."""

# --- Commands (rules in edge.command.rules) ------------------------------------------------------
MAX_COMMAND_BYTES = 2 * 1024
"""Ours are below 600 bytes."""
MAX_ANSWER_BYTES = 4 * 1024
COMMAND_LIFETIME_S = 120
COMMAND_LIFETIME_MOST_S = 600
"""A command is void so long after it was signed."""
COMMAND_TEXT_CHARS = 200
COMMANDS_QUEUED = 64
"""Commands that wait to be looked at; more are dropped."""
COMMANDS_EARLY = 16
"""Commands that wait until it is known who may give them."""
COMMANDS_REMEMBERED = 256
"""Commands that could be replayed, until they are void."""
COMMAND_CHECKS = 20
COMMAND_CHECKS_PER_S = 10.0
"""Signatures checked at once, and on and on; of commands that stop, and of others, each."""
COMMAND_ANSWERS = 20
COMMAND_ANSWERS_PER_S = 2.0
"""Refusals answered at once, and on and on."""
COMMAND_PATIENCE_S = 30.0
"""So long `lethe command` waits for an answer unless told otherwise."""
MAX_COMMAND_MEMORY_BYTES = 64 * 1024
IDENTIFY_DEFAULT_S = 15
IDENTIFY_MOST_S = 300
IDENTIFY_BLINK_S = 0.25
SELFTEST_ANSWER_S = 120.0
"""A self-test beside the stream that has not come to an end by then has failed."""
SELFTEST_NICE = 15

# --- Preview for installing a camera (edge.command.preview) --------------------------------------
AIM_PORT = 8473
"""The firmware's unit lets the device listen on this one only."""
AIM_DEFAULT_MIN = 10
AIM_MOST_MIN = 30
AIM_COLUMNS = 36
AIM_GREYS = 4
"""So many cells lie across the preview, in so many greys. A face of an eighth of its width has four
or five cells then, and is nobody's, whether it was found or not (docs/commands.md)."""
AIM_FACE_SCORE = 0.2
"""Larger ones are blotted out, down to this score, ..."""
AIM_GROWN = 0.45
"""... with so much of their size on each side, ..."""
AIM_MEMORY = 6
"""... and for so many pictures after they were found last."""
AIM_PERIOD_S = 0.5
AIM_TOKEN_BYTES = 16
AIM_REQUEST_S = 2.0
"""A client that does not say within this time what it wants is let go."""

# --- Events ------------------------------------------------------------------------------------
OUTBOX_MAX_EVENTS = 20_000
OUTBOX_MAX_BYTES = 64 * 1024 * 1024
"""Beyond either, sealed pictures make room, then the oldest reports; a gap says how many."""
OUTBOX_LOOK_S = 60.0
"""How often the outbox looks for events whose time is over."""
EVENT_EXPIRY_S = 7 * 24 * 3600
"""An event that could not be delivered for so long is dropped, and a gap says so."""
PICTURE_EXPIRY_S = 24 * 3600
"""The same of a sealed picture."""
UNSAVED_MAX = 1_000
"""Reports that are held in memory while the disk takes none; the oldest make room."""
PUBLISH_WINDOW = 128
"""Events on their way to the broker at a time."""
PUBLISH_ACK_S = 10.0
"""Where the broker acknowledges nothing for so long, what it has not is sent again."""
PUBLISH_RETRY_S = 1.0
FLUSH_S = 5.0
"""At a clean end, so long is waited for the broker to take what is in the outbox."""

# --- Models ------------------------------------------------------------------------------------
MAX_MODEL_BYTES = 64 * 1024 * 1024
MAX_MANIFEST_BYTES = 1024 * 1024
MIN_DIMENSION = 16
MAX_DIMENSION = 1024
"""Length of a template."""

# --- Accelerators (rules in edge.inference.recovery) ---------------------------------------------
ACCELERATOR_DEADLINE_S = 1.0
"""An inference that takes longer is repeated on the CPU: both together within two seconds."""
ACCELERATOR_START_S = 60.0
"""Start of a process with its libraries, and models into the accelerator's memory."""
TENSORRT_BUILD_S = 1800.0
"""The same with TensorRT, which may have to build the engines first."""
ACCELERATOR_RETRY_FIRST_S = 2.0
ACCELERATOR_RETRY_MAX_S = 300.0
"""A failed accelerator is tried again after 2, 4, 8, … at most 300 s."""
ACCELERATOR_STEADY_S = 60.0
"""One that has worked for so long begins again with the first pause."""
ACCELERATOR_CHECK_S = 60.0
"""How often a working accelerator is asked for a result that is known."""
ACCELERATOR_TOLERANCE = 0.2
"""Largest deviation of such a result: root mean square, as a part of the CPU's, ..."""
ACCELERATOR_TOLERANCE_FLOOR = 0.02
"""... and so much more. The ONNX files' are up to 0.9 of that away; colours exchanged, over 1.8."""
ACCELERATOR_CLOSE_S = 2.0
"""At the end an accelerator's process has so long to let go before it is killed."""
PROBE_S = 10.0
"""Another interpreter has so long to say whether it finds a module."""
EDGETPU_MEMORY_BYTES = 8 * 1024 * 1024
"""An Edge TPU's memory for models; what is larger is fetched anew for each inference."""
TENSORRT_MIN_MAJOR = 10
TENSORRT_WORKSPACE_BYTES = 256 * 1024 * 1024
MAX_ENGINE_BYTES = 256 * 1024 * 1024
MAX_REPLY_BYTES = 64 * 1024
"""Longest text between the device and an accelerator's process; models are longer."""

# --- Vision ------------------------------------------------------------------------------------
MIN_FRAME_SIDE = 16
MAX_FACES = 200
"""Faces taken from one frame, strongest first."""
TRACK_MIN_IOU = 0.2
"""Least overlap of a face with a track's expected place."""
TRACK_GROWN = 0.5
"""Share of its size by which a box is grown on each side where plain overlap finds no partner."""
TRACK_LOST_S = 0.8
"""A track not seen for so long has ended."""
VIEW_MIN_SIZE = 8.0
"""Views with fewer pixels between the eyes (of a frontal face) are not judged. This and the
following limits lie where more than two of three views would be missed (docs/quality.md)."""
VIEW_MIN_FRONTALITY = 0.15
VIEW_MIN_SHARPNESS = 0.08
VIEW_MIN_BRIGHTNESS = 0.04
VIEW_MAX_BRIGHTNESS = 0.97
VIEW_MIN_CONTRAST = 0.03
SHOT_WINDOW_S = 0.16
"""From each window at most the best view is embedded."""
SHOTS_ENOUGH = 4
"""So many views are embedded in any case; a further one must be clearly better."""
SHOT_BETTER = 1.15
SHOTS_KEPT = 6
SAME_TRACK_COSINE = 0.15
"""A view less like its track than this is another person's."""
WEAK_FACE_SCORE = 0.4
"""Detections from here up may continue a track; only stronger ones may begin one."""
SAME_FACE_IOU = (0.5, 0.75)
SAME_FACE_SCORE = (0.5, 1.0)
"""Overlap with, and share of the score of, the cell that sees a face best: between the two, another
cell's word gains weight in the average. Without a step, a hair's breadth moves it by no more."""
CUT_DIFFERENCE = 18.0
"""Mean change in grey levels between two frames that is taken for a cut: every track ends."""
MINIATURE = (64, 36)
"""Width and height of the miniature in which cuts and motion are looked for."""
MOTION_DIFFERENCE = 12
"""Grey levels by which a pixel of the miniature differs where something moves."""
MOTION_PIXELS = 2
"""So many of them make motion; a single one is noise."""

# --- Pace (edge.vision.pace): seconds between two looks for faces ---------------------------------
LOOK_FRESH_S = 0.03
LOOK_FRESH_FOR_S = 0.35
"""For so long after a track has begun, every frame of up to 30 a second is looked at."""
LOOK_DECIDING_S = 0.065
"""While a track needs views: every other frame of 30 a second."""
LOOK_DECIDING_MOST_S = 2.0
"""A track that has shown no usable view for so long is only followed, and judged if it does."""
LOOK_FOLLOWING_S = 0.3
LOOK_WHOLE_S = 0.5
"""While a track is alive, the whole frame is looked at so often; in between, around the faces."""
LOOK_MOVING_S = 0.7
LOOK_STILL_S = 2.0
LOOK_GATE_S = 0.2  # in an empty scene, between two comparisons with the last frame looked at
LOOK_EASED, LOOK_LEAST = 1.5, 2.0
"""In heat, on a low battery, or to save, looks are so much rarer (`edge.health.budget`)."""
LOOK_COARSE_SHARE = 6
"""Where nobody lacks views, the whole frame is looked at coarsely but for one time in so many."""
SENSED_SCORE = 0.4
"""The faintest sign of a face in a coarse look; it is looked at again in full."""
NEAR_MARGIN = 0.6
"""Around a face expected somewhere, so much of its size on each side is looked at, too."""
NEAR_FACE_PIXELS = 48.0
"""A larger face may be shrunk to this width for a look around it: no detail is lost that counts."""

# --- Configuration from the fleet (rules in edge.settings) ---------------------------------------
CONFIG_TRIAL_S = 60.0
"""A configuration that needed a restart has so long to show that frames are judged with it."""
CONFIG_TRIAL_STARTS = 3
"""Starts with it that may end unproven; below systemd's five in ten minutes (lethe.service)."""
CONFIG_RESTART_S = 30.0
"""A device that is to be made anew has so long to end; what hangs then is cut off."""
CONFIG_BINS_BITS = 6
"""Desired configurations are signed in 64 bins: a device fetches what is signed of one in 64."""

# --- Decision ----------------------------------------------------------------------------------
FPIR_TARGET_DEFAULT = 0.001
MATCH_SCORE_FLOOR = 0.30
"""No threshold lies below this, whatever the list's size: thumbnails of strangers reach 0.3."""
MIN_AGREEING_VIEWS = 2
VIEW_SCORE_SLACK = 0.05
"""A single view may fall short of the track's threshold by so much and still agree."""
COOL_DOWN_S = 2.0
"""Someone seen again so soon after a reported track ended is the same sighting: no new event."""

MAX_ARCHIVE_LINE_BYTES = MAX_EVENT_BYTES + 1024
"""Longest line of an archive that is read."""
LEDGER_MAX_HOLES = 1_000
"""Runs of missing numbers that a reader remembers of a device."""

# --- Audit log (edge.audit) ----------------------------------------------------------------------
AUDIT_FILE_BYTES = 1024 * 1024
"""A file of the log is rotated from here."""
AUDIT_MAX_BYTES = 64 * 1024 * 1024
"""Beyond, the oldest files go; some 250,000 records."""
AUDIT_KEEP_S = 400 * 24 * 3600
"""Records older than this go. EU AI Act, Art. 19(1) and 26(6): at least six months."""
AUDIT_LINE_BYTES = 16 * 1024
AUDIT_UNSAVED_MAX = 200
"""Records that wait in memory for the disk; from here on nobody is looked for."""
AUDIT_HEAD_S = 3600.0
"""How often the head is published, and a use that goes on recorded."""
AUDIT_PAUSE_S = 10.0
"""Least time between two records of what is wrong, or of refusals of one kind."""
CLOCK_JUMP_S = 60.0
"""A wall clock that has moved so much against the steady one was set."""

# --- The life of a candidate (edge.watchlist.sightings) ------------------------------------------
UPDATE_SCORE = 0.05
"""A score that has changed by so much is told."""
UPDATE_PAUSE_S = 2.0
UPDATES_MAX = 8
"""Updates of one candidate: at most so many, so far apart."""
RECHECK_S = 1.0
"""While a candidate stays in view, a view of its track is compared again this often."""
DOUBTS_MAX = 3
"""So many views in a row that do not confirm a candidate release its track."""

# --- Pictures of candidates ----------------------------------------------------------------------
PICTURE_MAX_SIDE = 256
"""Longest side in pixels of the picture of a candidate's face."""
PICTURE_MAX_BYTES = 24 * 1024
PICTURE_QUALITIES = (85, 70, 50, 30)
"""JPEG qualities tried one after the other until the picture is small enough."""
PICTURE_MARGIN = 0.1
"""What is shown around the box of the face, in parts of its longer side."""

# --- Updates (edge.update) -----------------------------------------------------------------------
MAX_ANNOUNCEMENT_BYTES = 32 * 1024
MAX_BUNDLE_BYTES = 2 * 1024 * 1024 * 1024
"""Largest update bundle; a slot holds half of it."""
UPDATE_CHECK_S = 5.0
UPDATE_ASK_S = 1.0
"""So often it is looked whether an update may go on; while it is fetched, every second."""
UPDATE_RETRY_FIRST_S, UPDATE_RETRY_MAX_S = 30.0, 3600.0
"""A download that broke off goes on after 30, 60, 120, … at most 3,600 s."""
UPDATE_CHUNK_BYTES = 256 * 1024
UPDATE_READ_S = 30.0
"""A server that sends nothing for so long has failed."""
UPDATE_SLOW_S = 60.0
UPDATE_SLOW_BYTES = 256 * 1024
"""One that sends less than this in that time is too slow: the next address is tried."""
UPDATE_REDIRECTS = 5
UPDATE_RESERVE_BYTES = 128 * 1024 * 1024
"""So much of the disk a download leaves free: room for a full outbox and two lists."""
UPDATE_STEP_PERCENT = 5
"""Progress is reported in such steps."""
UPDATE_FAILURES_KEPT = 16
MAX_SMALL_FILE_BYTES = 64 * 1024
"""Of what the device keeps of updates, and what kernel and root leave for it to read."""
UPDATE_INSTALL_S = 3600.0
"""So long without a result, and an installation has failed, a restart is asked for once more."""
UPDATE_INSTALL_CUTS = 3
"""In so many installations of one bundle the machine may go down before it is to blame."""
MAX_MODEL_FILES = 64
MODEL_TRIAL_S = 120.0
"""New models have so long for the self-test."""
MODEL_TRIAL_LOOK_S = 0.2
MODEL_TRIAL_STARTS = 2
"""So many starts of the device new models have to show that it works with them."""
UPDATE_CLOSE_S = 2.0
"""At the end, so long is waited for a download to be given up; what came is on the disk."""
UPDATE_WATCH_S = 5.0
"""How often the owner's side looks at its devices."""

# --- Doctor ------------------------------------------------------------------------------------
DOCTOR_MEMORY_BYTES = 512 * 1024 * 1024
DOCTOR_DISK_BYTES = 128 * 1024 * 1024
"""Room for a full outbox and two copies of the largest list, with reserve."""
DOCTOR_FIRST_YEAR = 2026
"""A clock before this year has not been set."""
DOCTOR_CONNECT_S = 3.0
DOCTOR_ALERT_S = 1.0
"""A broker that says nothing for so long after the handshake takes our certificate."""
DOCTOR_RETAINED = 1_100
"""More than a mosquitto as it comes hands out at once, which is 1,000 and those under way."""
DOCTOR_QUIET_S = 2.0
"""When nothing more has come for so long, nothing more will."""
RTSP_PORTS = {"rtsp": 554, "rtsps": 322}
"""The ports of an address that names none."""

# --- Index ---------------------------------------------------------------------------------------
INDEX_BLOCK_ROWS = 16_384
"""Rows that are compared at a time. Fewer cost calls, more cost memory while searching."""
HNSW_FROM_TEMPLATES = 200_000
"""Below, no graph is tried: the exact scan costs less and misses nobody (docs/adr/0016)."""
HNSW_M = 16
HNSW_EF_BUILD = 200
HNSW_EF_SEARCH = 400
HNSW_CANDIDATES = 32
"""Candidates that are scored again exactly."""
HNSW_MIN_RECALL = 0.999
"""A graph that finds fewer of the nearest does not serve, however fast."""
HNSW_TRIAL_PROBES = 2000
HNSW_TRIAL_COSINE = 0.5
"""A listed person on a bad day: half of the genuine scores measured on LFW lie above 0.68."""
INDEX_STEP_ENTRIES = 1000
INDEX_BREATH_S = 0.002
"""After so many entries a list that is being read or indexed gives way to the video for so long."""
LIST_CHECK_S = 1.0
"""How often the list thread looks at the clock: an expired list is destroyed within this time."""
LIST_RETRY_S = 30.0
"""What the disk refused is tried again after this."""

# --- Enrolment (fleet.enrol) -------------------------------------------------------------------
ENROL_MIN_SIZE = 24.0
"""Pixels between the eyes, of a frontal face."""
ENROL_MIN_FRONTALITY = 0.5
ENROL_MIN_SHARPNESS = 0.15
ENROL_MIN_BRIGHTNESS = 0.12
ENROL_MAX_BRIGHTNESS = 0.92
ENROL_MIN_CONTRAST = 0.1
ENROL_SMALL_FACE = 0.25
"""With --largest, other faces may be so wide at most, compared with the main one."""
ENROL_MIN_COSINE = 0.3
"""Photos of one person resemble each other at least so much."""

# --- Health --------------------------------------------------------------------------------------
HEALTH_S = 1.0
"""How often the device looks whether its status has changed."""
MAX_STATUS_BYTES = 16 * 1024
TELEMETRY_DEFAULT_S = 60
TELEMETRY_LEAST_S = 30
FRAMES_FEW_PER_S = 5.0
"""A live camera that delivers fewer frames a second is said to deliver few."""
TEMPERATURE_WARM_C = 70.0
TEMPERATURE_HOT_C = 80.0
"""A Raspberry Pi slows down from here, in degrees Celsius."""
TEMPERATURE_HOLD_S = 600.0
"""A class of temperature counts when it has held for so long."""
TEMPERATURE_KEEP_S = 24 * 3600.0
"""The worst one is said for so long."""
BUDGET_DEGREES = (76.0, 80.0)
"""From these temperatures on the device looks less often, and in less detail too."""
BUDGET_DEGREES_MARGIN = 6.0
BUDGET_CHARGE = (0.3, 0.15)
"""The same for the charge of a battery that it runs on, as a part of a full one."""
BUDGET_CHARGE_MARGIN = 0.05
BUDGET_RISE_S, BUDGET_FALL_S = 30.0, 600.0
"""Readings must ask for less so long, or for more so long, to be followed."""
BUDGET_TOLD_S = 24 * 3600.0  # so long is the hardest step told
TPM_ANSWER_S = 20.0
"""A TPM on a slow bus takes about a second to unseal a key."""
DEFAULT_GPSD = "127.0.0.1:2947"
GPSD_ANSWER_S = 5.0
GPSD_RETRY_S = 2.0
GPSD_POLL_S = 0.5
SELFTEST_PORTRAITS = ("eileen-collins.png", "grace-hopper.jpg")
"""Pictures that the self-test is made from: who is enrolled for it, and who is not."""
SELFTEST_RETRY_S = 5.0
"""What has become worse since the last version is looked at again after this."""
