# Lethe's boot script for U-Boot: chooses a slot, counts its tries, starts its kernel.
#
# The boot state (BOOT_ORDER, BOOT_A_LEFT, BOOT_B_LEFT: what RAUC sets) lies twice on a partition of
# its own, in the format of U-Boot's redundant environment: CRC-32, one byte that counts writes, the
# variables. The newer whole copy counts; the other is written. So a power cut in a write leaves the
# state from before it. Only those three variables are taken from there.

setenv state @SCRATCH_ADDRESS@
setexpr first ${state} + 0x1000
setexpr second ${state} + 0x2000
setexpr sum ${state} + 0x3000
part number ${devtype} ${devnum} lethe-env env_part
part start ${devtype} ${devnum} lethe-env env_first
setexpr env_second ${env_first} + 0x80

# U-Boot's crc32 stores the most significant byte first, the environment the least.
setenv check 'setenv whole no; setexpr data ${copy} + 5; crc32 ${data} 0xffb ${sum}; setexpr b1 ${copy} + 1; setexpr b2 ${copy} + 2; setexpr b3 ${copy} + 3; setexpr s1 ${sum} + 1; setexpr s2 ${sum} + 2; setexpr s3 ${sum} + 3; if itest.b *${copy} == *${s3} && itest.b *${b1} == *${s2} && itest.b *${b2} == *${s1} && itest.b *${b3} == *${sum}; then setenv whole yes; fi'

${devtype} read ${first} ${env_first} 8
${devtype} read ${second} ${env_second} 8
setenv copy ${first}
run check
setenv first_whole ${whole}
setenv copy ${second}
run check
setenv second_whole ${whole}
setexpr at ${first} + 4
setexpr.b first_count *${at}
setexpr at ${second} + 4
setexpr.b second_count *${at}

setenv taken none
if test ${first_whole} = yes; then setenv taken first; fi
if test ${second_whole} = yes; then
    if test ${first_whole} = no; then
        setenv taken second
    else
        # Newer by a count that wraps from 255 to 0.
        setexpr ahead ${second_count} + 0x100
        setexpr ahead ${ahead} - ${first_count}
        setexpr ahead ${ahead} % 0x100
        if itest ${ahead} -gt 0 && itest ${ahead} -lt 0x80; then setenv taken second; fi
    fi
fi
setenv count 0
setenv write_to ${env_first}
if test ${taken} = first; then
    setenv copy ${first}
    setenv count ${first_count}
    setenv write_to ${env_second}
fi
if test ${taken} = second; then
    setenv copy ${second}
    setenv count ${second_count}
fi
setenv BOOT_ORDER
setenv BOOT_A_LEFT
setenv BOOT_B_LEFT
if test ${taken} != none; then
    setexpr at ${copy} + 5
    env import -b ${at} 0xffb BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
else
    echo "lethe: no boot state is whole: both slots are tried"
fi
if test -z "${BOOT_ORDER}"; then setenv BOOT_ORDER "A B"; fi
if test -z "${BOOT_A_LEFT}"; then setenv BOOT_A_LEFT 3; fi
if test -z "${BOOT_B_LEFT}"; then setenv BOOT_B_LEFT 3; fi
echo "lethe: boot state ${taken}: order ${BOOT_ORDER}, left A ${BOOT_A_LEFT}, B ${BOOT_B_LEFT}"

setenv slot
for try in ${BOOT_ORDER}; do
    if test -z "${slot}"; then
        if test ${try} = A && itest ${BOOT_A_LEFT} -gt 0; then
            setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
            setenv slot A
            setenv label lethe-a
        fi
        if test ${try} = B && itest ${BOOT_B_LEFT} -gt 0; then
            setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
            setenv slot B
            setenv label lethe-b
        fi
    fi
done
if test -z "${slot}"; then
    # Nothing has any try left. A slot that is being written is not in the order: it is not revived.
    echo "lethe: no slot has a try left: beginning anew"
    for try in ${BOOT_ORDER}; do
        if test ${try} = A; then setenv BOOT_A_LEFT 3; fi
        if test ${try} = B; then setenv BOOT_B_LEFT 3; fi
    done
fi

# Write the state before anything is started: a start that hangs has been counted.
mw.b ${state} 0 0x1000
setexpr at ${state} + 5
env export -b -s 0xffb ${at} BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
crc32 ${at} 0xffb ${sum}
setexpr b1 ${state} + 1
setexpr b2 ${state} + 2
setexpr b3 ${state} + 3
setexpr b4 ${state} + 4
setexpr s1 ${sum} + 1
setexpr s2 ${sum} + 2
setexpr s3 ${sum} + 3
cp.b ${s3} ${state} 1
cp.b ${s2} ${b1} 1
cp.b ${s1} ${b2} 1
cp.b ${sum} ${b3} 1
setexpr count ${count} + 1
setexpr count ${count} % 0x100
mw.b ${b4} ${count} 1
${devtype} write ${state} ${write_to} 8

if test -n "${slot}"; then
    part number ${devtype} ${devnum} ${label} slot_part
    echo "lethe: starting slot ${slot}"
    setenv bootargs "root=PARTLABEL=${label} ro rauc.slot=${slot} console=@CONSOLE@ panic=10 systemd.gpt_auto=0 quiet @ARGUMENTS@"
    if load ${devtype} ${devnum}:${slot_part} @KERNEL_ADDRESS@ /boot/vmlinuz; then
        if load ${devtype} ${devnum}:${slot_part} @INITRD_ADDRESS@ /boot/initrd.img; then
            booti @KERNEL_ADDRESS@ @INITRD_ADDRESS@:${filesize} ${@FDT@}
        fi
    fi
    echo "lethe: slot ${slot} cannot be started"
fi
reset
