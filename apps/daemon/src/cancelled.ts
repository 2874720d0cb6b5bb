/** What a process says of itself that somebody has cancelled: no fault. */
export const cancelledReason = 'it was cancelled on request';
