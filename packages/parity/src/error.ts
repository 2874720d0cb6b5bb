/**
 * `ERR_BUFFER_MEMORY`: the memory cannot hold what was asked for; the remedy is a larger memory or smaller pools.
 * `ERR_BUFFER_MISUSE`: a buffer was given back twice, to the wrong pool, or taken away while in use; the remedy is a
 * corrected program, for from then on two owners may hold the same bytes.
 */
export type BufferMemoryErrorCode = 'ERR_BUFFER_MEMORY' | 'ERR_BUFFER_MISUSE';

export class BufferMemoryError extends Error {
  override readonly name = 'BufferMemoryError';
  readonly code: BufferMemoryErrorCode;

  constructor(code: BufferMemoryErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
