# Each end of each pair of memory orders in csrc/ring, weakened: ThreadSanitizer must report a race.
if(KVTAPE_SANITIZE STREQUAL "thread")
  foreach(ring spsc_ring byte_ring)
    foreach(order publish observe vacate reuse)
      foreach(policy drop_newest drop_oldest)
        set(name test_${ring}_weak_${order}_${policy})
        add_test(NAME ${name} COMMAND test_${ring} weak ${order} ${policy})
        set_tests_properties(${name} PROPERTIES PASS_REGULAR_EXPRESSION "ThreadSanitizer: data race")
      endforeach()
    endforeach()
  endforeach()
endif()

# Minutes under a sanitizer, seconds without: ctest -C Slow
foreach(ring spsc_ring byte_ring)
  add_test(NAME test_${ring}_slow CONFIGURATIONS Slow COMMAND test_${ring} items 100000000)
endforeach()
