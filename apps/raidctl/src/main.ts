import { main } from './run.js';

// The reader may stop early: `raidctl status | head -1`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

void main(process).then((code) => {
  process.exitCode = code;
});
