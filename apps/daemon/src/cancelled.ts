/** What a process says of itself that was cancelled on request: no fault. */
export const cancelledReason = 'it was cancelled on request';
