/** The error text of a process that was cancelled on request, which is not a failure. */
export const cancelledReason = 'it was cancelled on request';
