// Bounds of the control plane, each with its reason.

/** A manifest is kept as one blob beside the volume; the store takes 64 KiB. */
export const MAX_MANIFEST_BYTES = 60 * 1024;
export const MAX_LABEL_VALUE_CHARACTERS = 63;
export const MAX_ANNOTATION_BYTES = 16 * 1024;
/** Each up to 223 bytes (RFC 7143 §4.2.7.1): together they stay below the manifest's bound. */
export const MAX_INITIATORS = 128;
export const MAX_IQN_BYTES = 223;
/** RFC 7143 §9.2.1 wants 96 bits at least: initiators refuse shorter ones when no IPsec protects them. */
export const MIN_CHAP_SECRET_BYTES = 12;
export const MAX_CHAP_SECRET_BYTES = 255;
export const MAX_CHAP_USER_BYTES = 255;
export const MIN_VOLUME_BYTES = 1024 * 1024;
/** 4 PiB: every byte offset stays an exact `number`, with room (src/block). */
export const MAX_VOLUME_BYTES = 4 * 2 ** 50;
export const MAX_VOLUMES = 4096;
/** DNS label (RFC 1123): the name ends the volume's IQN. */
export const MAX_NAME_CHARACTERS = 63;
/** Resource versions are reserved on disk so many at a time. */
export const RESOURCE_VERSION_STRIDE = 1000;
/** With the volume's name and what a schedule adds it stays within a name's 253 characters. */
export const MAX_SNAPSHOT_NAME_CHARACTERS = 63;
