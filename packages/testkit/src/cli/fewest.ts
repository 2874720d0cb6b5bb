/**
 * Returns the smallest number from 0 to `most` for which `fails` holds, given that it holds for `most`: by doubling, then by
 * bisection. If it does not hold for all larger numbers, returns some number for which it holds and for whose predecessor it
 * does not.
 */
export async function fewest(most: number, fails: (count: number) => Promise<boolean>): Promise<number> {
  let good = -1;
  let bad = most;
  for (let count = 0; count < most; count = Math.max(1, count * 2)) {
    if (await fails(count)) {
      bad = count;
      break;
    }
    good = count;
  }
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (await fails(middle)) bad = middle;
    else good = middle;
  }
  return bad;
}
