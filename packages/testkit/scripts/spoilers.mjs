// Corruptions of a member that need knowledge of SPDK's superblock and of our area behind it, for the assembly cases.
import { crc32c } from '@raidkit/superblock';

const crcAt = 16;
const lengthAt = 12;

function sign(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint32(crcAt, 0, true);
  view.setUint32(crcAt, crc32c(bytes, 0, view.getUint32(lengthAt, true)), true);
}

export const spoilers = [
  // Its second copy is valid.
  { id: 'half written', spoil: (bytes) => bytes.fill(0x5a, 200, 512), isHarmless: true },
  { id: 'both copies damaged', spoil: (bytes) => bytes.fill(0x5a, 200, 512).fill(0x5a, 32_968, 33_280) },
  {
    id: 'newer major',
    spoil: (bytes) => {
      bytes[8] = 2;
      sign(bytes);
    },
  },
  {
    id: 'too many slots',
    spoil: (bytes) => {
      bytes[136] = 255;
      sign(bytes);
    },
  },
  { id: 'without our area', isHarmless: true, isBlind: true, spoil: (bytes) => bytes.fill(0, 64 * 1024, 256 * 1024) },
];
