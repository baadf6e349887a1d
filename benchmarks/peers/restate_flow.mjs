// Ten calls of another service, one after the other: the flow in one process, its steps in another.
// node restate_flow.mjs flow|worker PORT
import * as restate from "@restatedev/restate-sdk";

const STEPS = 10;
// The SDK uses it; Node has it from 22 on.
Promise.withResolvers ??= function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};
const worker = restate.service({
  name: "worker",
  handlers: { step: async (_ctx, number) => ({ n: number }) },
});
const flow = restate.service({
  name: "flow",
  handlers: {
    run: async (ctx) => {
      for (let number = 0; number < STEPS; number += 1) {
        await ctx.serviceClient(worker).step(number);
      }
      return { steps: STEPS };
    },
  },
});

const [role, port] = process.argv.slice(2);
await restate.endpoint().bind(role === "flow" ? flow : worker).listen(Number(port));
