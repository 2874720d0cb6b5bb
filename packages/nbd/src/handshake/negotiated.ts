/** How replies look. */
export const ReplyStyle = { Simple: 0, Structured: 1, Extended: 2 } as const;
export type ReplyStyle = (typeof ReplyStyle)[keyof typeof ReplyStyle];

/**
 * Everything that a client and the server have agreed on by options. One object, so that a switch to TLS can forget all of
 * it at once (CVE-2021-3716 was state that survived).
 */
export class Negotiated {
  replyStyle: ReplyStyle = ReplyStyle.Simple;
  /** Name of the export for which `base:allocation` was selected; null for none. */
  allocationExport: string | null = null;

  reset(): void {
    this.replyStyle = ReplyStyle.Simple;
    this.allocationExport = null;
  }
}
