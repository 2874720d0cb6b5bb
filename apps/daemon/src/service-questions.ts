import { identityOf, rescanAll } from '@raidkit/backend-linux';
import type { Bdev } from '@raidkit/bdev';
import type { Service } from './service.js';
import type { MovedDevice } from './shared-state.js';
import type { Fixed, Question } from './reactor-messages.js';
import { RpcError, errnoRefusal } from './rpc/errors.js';
import { SharedRegistry } from './shared-registry.js';

/** Answers questions of the router, which are not calls of clients. */
export async function answerQuestion(service: Service, question: Question): Promise<unknown> {
  const { dispatcher, exports } = service;
  switch (question.ask) {
    case 'fixed':
      return fixedOf(service, question.names);
    case 'release':
      return release(service, question.name);
    case 'adopt':
      return adopt(service, question.device);
    case 'check':
      dispatcher.check(question.method, question.params);
      return true;
    case 'listening':
      exports.addresses = question.addresses;
      return true;
    case 'lookAtDevices':
      await rescanAll(service.registry);
      return true;
    case 'nothing':
      return true;
  }
}

function fixedOf({ registry }: Service, names: readonly string[]): Fixed {
  const fixed: Fixed = {};
  for (const name of names) {
    const bdev = registry.get(name);
    const why = bdev?.state === 'registered' ? whyFixed(bdev) : null;
    if (why !== null) fixed[name] = why;
  }
  return fixed;
}

async function release({ log, registry }: Service, name: string): Promise<MovedDevice> {
  const bdev = registry.get(name);
  if (bdev?.state !== 'registered') throw errnoRefusal(19, `there is no bdev ${name}`);
  // The device may have got a user since it was checked.
  const why = whyFixed(bdev);
  if (why !== null) throw new RpcError(-why.errno, why.reason);
  const identity = identityOf(bdev);
  const call = bdev.driver.configCall?.();
  if (call === null || call === undefined) throw errnoRefusal(19, `bdev ${name} cannot be opened again by a call`);
  try {
    await registry.unregister(bdev);
  } catch (error) {
    // It is closed nevertheless, and must be opened again somewhere.
    log.error({ bdev: name, err: error }, 'a device that moves to another reactor could not be closed cleanly');
  }
  return { name: bdev.name, identity, ...call };
}

/** Opens a device that another reactor has released. It is not examined, because it was there. */
async function adopt({ dispatcher, registry }: Service, { name, identity, method, params }: MovedDevice): Promise<void> {
  if (!(registry instanceof SharedRegistry)) throw new Error('a service with one reactor cannot receive devices');
  await registry.withoutExamining(name, () => dispatcher.call(method, params));
  const bdev = registry.get(name);
  if (bdev === undefined || identityOf(bdev) === identity) return;
  await registry.unregister(bdev);
  throw new RpcError(
    -19,
    `its path leads to another device or file now (${String(identityOf(bdev))} instead of ${String(identity)})`,
  );
}

/** Returns why the device cannot move to another reactor, with an errno for it; null if it can. */
function whyFixed(bdev: Bdev): { reason: string; errno: number } | null {
  if (bdev.driver.kind !== 'aio') return { reason: `a device of kind ${bdev.driver.kind} cannot be moved`, errno: 22 };
  if (bdev.claimedBy !== null) return { reason: `it is claimed by ${bdev.claimedBy}`, errno: 1 };
  if (bdev.abandoned > 0) return { reason: `it still has ${bdev.abandoned} I/Os in flight from an earlier use`, errno: 16 };
  if (bdev.descriptors.size > 0) return { reason: 'it is in use: exported, or being examined', errno: 16 };
  return null;
}
